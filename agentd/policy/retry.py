"""Bounded retry: how often a call is tried again, and how long is waited in between. Pure; one seed, one answer."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from agentd.model import Frozen

Outcome = Literal["transient_failure", "success", "exhausted"]
JITTER = 0.2
"""Part of a wait by which it may be longer or shorter."""


class RetryRules(Frozen):
    """`retry`: how often a call to a model or to GitHub is tried again that failed for a passing reason."""

    max_retries: int = Field(default=3, ge=0, le=100)
    """After the first try."""
    backoff_base_ms: int = Field(default=500, ge=1)
    """Wait after the first failure; twice as long after each further one."""
    backoff_cap_ms: int = Field(default=60_000, ge=1)
    """The longest wait."""

    @property
    def attempts(self) -> int:
        """Tries altogether."""
        return self.max_retries + 1


def backoff_ms(rules: RetryRules, attempt: int, seed: str) -> int:
    """Milliseconds to wait after the failed attempt (1 for the first): min(base x 2^(n-1), cap), 20 % more or less.

    What it is more or less depends on seed and attempt alone, and on nothing outside.
    """
    wait = min(rules.backoff_base_ms << min(attempt - 1, 62), rules.backoff_cap_ms)
    number = int.from_bytes(hashlib.sha256(f"{seed}-{attempt}".encode()).digest()[:8], "big") / 2**64
    return max(0, round(wait * (1 + JITTER * (2 * number - 1))))


def wait_seconds(rules: RetryRules, attempt: int, seed: str, retry_after_seconds: float | None) -> float | None:
    """Seconds to wait before the next try; None when this one was the last.

    What the other side asked for (`Retry-After`) is honoured, even beyond the cap.
    """
    if attempt >= rules.attempts:
        return None
    own = backoff_ms(rules, attempt, seed) / 1000
    return own if retry_after_seconds is None else max(retry_after_seconds, 0.0)


def waits_seconds(rules: RetryRules, seed: str) -> tuple[float, ...]:
    """The waits between all tries, for whoever cannot ask for each."""
    return tuple(backoff_ms(rules, attempt, seed) / 1000 for attempt in range(1, rules.attempts))


def is_retryable(error: BaseException) -> bool:
    """Whether a try may be repeated after it at all: never after what ends the program, or what is no plain error."""
    return isinstance(error, Exception) and not isinstance(error, MemoryError)


def outcome_of(rules: RetryRules, attempt: int, *, failed: bool) -> Outcome:
    """What an attempt was: the last that fails is `exhausted`."""
    if not failed:
        return "success"
    return "exhausted" if attempt >= rules.attempts else "transient_failure"
