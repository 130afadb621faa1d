"""How runs end: from an HTTP status, an error text or an exit status to one of the outcome kinds."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime

from agentd.agents.events import Error

MESSAGE_CHARS = 2_000
"""An outcome's message is a line for a person, not the log."""

_STATUS = re.compile(
    r"(?:^|(?:status(?: code)?|API error|HTTP(?:/[\d.]+)?|error code)\W{0,4})([45]\d\d)\b", re.IGNORECASE
)
_AUTH = re.compile(
    r"unauthori[sz]ed|authentication|invalid (?:x-)?api[- ]key|incorrect api key|not logged in|please run /login"
    r"|missing environment variable|no api key",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"usage limit|rate[ _-]?limit|ratelimit|too many requests|insufficient[ _]quota|exceeded your current quota"
    r"|credit balance|billing",
    re.IGNORECASE,
)
_USED_UP = re.compile(r"credit balance|insufficient[ _]quota|exceeded your current quota|billing", re.IGNORECASE)
_CONNECTION = re.compile(
    r"connection|disconnected|stream (?:closed|ended|error)|timed? ?out|TimeoutError|overloaded|unavailable|ECONN"
    r"|socket|fetch failed|JSON parsing failed|internal server error|internal error|malformed response"
    r"|high demand|^API Error",
    re.IGNORECASE,
)
_RESET_EPOCH = re.compile(r"limit reached\|(\d{9,11})")
_WAIT = re.compile(
    r"(?:retry|try again) (?:after|in) (\d+(?:\.\d+)?) ?(ms|s|seconds?|m|min(?:utes?)?|h(?:ours?)?)\b", re.I
)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def from_status(status: int, message: str) -> Error:
    """The error that an HTTP status of the model's service means."""
    text = short(message) or f"the model's service answered {status}"
    if status in (401, 403):
        return Error("auth_error", text)
    if status == 402 or _USED_UP.search(text):
        return Error("quota", text)
    if status == 429:
        return Error("quota", text, retryable=True, retry_after_seconds=_wait(text), retry_at=_reset(text))
    return Error("api_error", text, retryable=status >= 500 or status in (408, 409, 425))


def from_text(message: str, otherwise: Error) -> Error:
    """The error that a message means: by the HTTP status in it, else by its words, else `otherwise` with its text."""
    text = short(message)
    found = _STATUS.search(text)
    if found:
        return from_status(int(found[1]), text)
    if _AUTH.search(text):
        return Error("auth_error", text)
    if _QUOTA.search(text):
        return Error("quota", text, not _USED_UP.search(text), _wait(text), _reset(text))
    if _CONNECTION.search(text):
        return Error("api_error", text, retryable=True)
    return Error(otherwise.kind, text or otherwise.message, otherwise.retryable)


def from_exit(exit_status: int, stderr_tail: str) -> Error:
    """The error of an agent that ended without saying how.

    A polite signal means somebody stopped it; any other one (the kernel short of memory) may not come again.
    """
    number = -exit_status if exit_status < 0 else exit_status - 128 if 128 < exit_status <= 128 + 64 else 0
    tail = short(stderr_tail.strip().splitlines()[-1]) if stderr_tail.strip() else ""
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Error("cancelled", f"ended by signal {number}", retryable=True)
    if exit_status < 0 or number == signal.SIGKILL:
        return Error("failed", f"killed by signal {number}", retryable=True)
    said = f": {tail}" if tail else ""
    return Error("failed", f"exit status {exit_status} and no final answer{said}", retryable=True)


def short(text: str) -> str:
    """The text cut to what an outcome's message may be."""
    return text if len(text) <= MESSAGE_CHARS else text[:MESSAGE_CHARS] + "…"


def at_epoch(seconds: float) -> datetime | None:
    """The aware UTC time of a Unix time, or None when it is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _reset(text: str) -> datetime | None:
    found = _RESET_EPOCH.search(text)
    return at_epoch(int(found[1])) if found else None


def _wait(text: str) -> float | None:
    found = _WAIT.search(text)
    if not found:
        return None
    unit = found[2].lower()
    return float(found[1]) * _UNIT_SECONDS["ms" if unit == "ms" else unit[0]]
