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
_USED_UP_WORDS = (
    r"credit balance|out of (?:usage |your )?credits|insufficient[ _]quota|exceeded your current quota"
    r"|specified API usage limits|key limit exceeded|(?:spend|spending) (?:cap|limit)"
    # A passing limit of OpenAI's ends with the address of its page about billing.
    r"|(?<!/)billing"
)
_USED_UP = re.compile(_USED_UP_WORDS, re.IGNORECASE)
_QUOTA = re.compile(
    r"usage limit|rate[ _-]?limit|ratelimit|too many requests|hit your [\w' ]{1,30} limit\b|" + _USED_UP_WORDS,
    re.IGNORECASE,
)
_CONNECTION = re.compile(
    r"connection|disconnected|stream (?:closed|ended|error)|timed? ?out|TimeoutError|overloaded|unavailable|ECONN"
    r"|socket|fetch failed|JSON parsing failed|internal server error|internal error|malformed response"
    r"|high demand|at capacity|^API Error",
    re.IGNORECASE,
)
_RESET_EPOCH = re.compile(r"limit reached\|(\d{9,11})")
_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC", re.IGNORECASE)
_LENGTH = r"(\d+(?:\.\d+)?) ?(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?)?|d(?:ays?)?)(?![a-z])"
_WAIT = re.compile(rf"(?:retry|try again) (?:after|in) ((?:{_LENGTH}(?:,? )?(?:and )?)+)", re.IGNORECASE)
"""One length or several: OpenAI's `1m12.5s`."""
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def from_status(status: int, message: str) -> Error:
    """The error that an HTTP status of the model's service means."""
    text = short(message) or f"the model's service answered {status}"
    if status == 401 or (status == 403 and not _USED_UP.search(text)):
        return Error("auth_error", text)
    if status in (402, 429) or _USED_UP.search(text):
        return _quota(text, lasting=status == 402)
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
        return _quota(text)
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


def _quota(text: str, lasting: bool = False) -> Error:
    """A quota that says when it is there again passes, whatever else it says."""
    seconds, moment = _wait(text), _reset(text)
    passes = seconds is not None or moment is not None or not (lasting or _USED_UP.search(text))
    return Error("quota", text, passes, seconds, moment)


def _reset(text: str) -> datetime | None:
    if found := _RESET_EPOCH.search(text):
        return at_epoch(int(found[1]))
    found = _REGAIN.search(text)
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00") if found else None
    except ValueError:
        return None


def _wait(text: str) -> float | None:
    found = _WAIT.search(text)
    if not found:
        return None
    lengths = [(float(number), unit.lower()) for number, unit in re.findall(_LENGTH, found[1], re.IGNORECASE)]
    return sum(number * _UNIT_SECONDS["ms" if unit == "ms" else unit[0]] for number, unit in lengths)
