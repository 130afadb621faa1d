"""GitHub's rate limits as data: what the headers say, when to go on, and the reserve that is kept for writes.

Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

SECONDARY_WAIT = timedelta(seconds=60)
"""GitHub's advice for a secondary limit that came without Retry-After."""

Headers = Mapping[str, str]
"""Response headers, names in lower case."""


@dataclass(frozen=True)
class RateState:
    """The primary limit as the last answer told it. `reset_at` is by the local clock, aware, UTC."""

    limit: int
    remaining: int
    reset_at: datetime
    used: int


def rate_of(headers: Headers, now: datetime) -> RateState | None:
    """The primary limit in an answer's headers, or None when they do not tell it for the REST (`core`) resource."""
    if headers.get("x-ratelimit-resource", "core") != "core":
        return None
    limit, remaining = _number(headers.get("x-ratelimit-limit")), _number(headers.get("x-ratelimit-remaining"))
    if limit is None or remaining is None:
        return None
    used = _number(headers.get("x-ratelimit-used"))
    reset_at = _reset_at(headers, now) or now
    return RateState(limit, remaining, reset_at, limit - remaining if used is None else used)


def limit_kind(status: int, headers: Headers, message: str) -> Literal["primary", "secondary"] | None:
    """Which limit a 403 or 429 is about; None when it is about rights."""
    if status not in (403, 429):
        return None
    if _number(headers.get("x-ratelimit-remaining")) == 0 and "secondary" not in message.lower():
        return "primary"
    if status == 429 or "retry-after" in headers or "secondary rate limit" in message.lower():
        return "secondary"
    return "primary" if message.lower().startswith("api rate limit exceeded") else None


def retry_at(kind: Literal["primary", "secondary"], headers: Headers, now: datetime) -> datetime:
    """When the next request may be sent, by the local clock. Retry-After counts more than the reset of the quota."""
    after = _retry_after(headers, now)
    if after is not None:
        return after
    if kind == "primary":
        return _reset_at(headers, now) or now + SECONDARY_WAIT
    return now + SECONDARY_WAIT


def reserve_reached(state: RateState | None, reserve: int, now: datetime) -> bool:
    """Whether reads must stop so that `reserve` requests are left for writes.

    A small quota (60 an hour without a token) keeps a tenth of itself, otherwise nothing could ever be read.
    """
    if state is None or now >= state.reset_at:
        return False
    return state.remaining < min(reserve, state.limit // 10)


def _retry_after(headers: Headers, now: datetime) -> datetime | None:
    """Retry-After as seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return now + timedelta(seconds=max(0, seconds))
    moment = _http_date(value)
    return None if moment is None else max(now, moment + _skew(headers, now))


def _reset_at(headers: Headers, now: datetime) -> datetime | None:
    epoch = _number(headers.get("x-ratelimit-reset"))
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC) + _skew(headers, now)


def _skew(headers: Headers, now: datetime) -> timedelta:
    """Local clock minus GitHub's: a machine whose clock is wrong still waits the right time."""
    server = _http_date(headers.get("date"))
    return timedelta() if server is None else now - server


def server_time(headers: Headers, now: datetime) -> datetime:
    """GitHub's clock at the answer; the local one when there was no Date header."""
    return _http_date(headers.get("date")) or now


def _http_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(value: str | None) -> int | None:
    """Floats occur in these headers (PyGithub pull request 2697)."""
    try:
        return int(float(value or ""))
    except (ValueError, OverflowError):
        return None
