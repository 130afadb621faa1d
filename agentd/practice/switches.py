"""What a test may turn on a practice GitHub while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Config:
    """Switches of the practice GitHub that a test may turn."""

    custom_refs: bool = True
    """False: refs outside refs/heads and refs/tags are refused, over REST and in a push."""
    mergeable_nulls: int = 1
    """How many times `mergeable` is null after the head or base of a pull request moved."""
    secondary_after: int | None = None
    """Content-creating requests a minute and user, after which the secondary rate limit answers 403."""
    secondary_retry_after: int | None = 60
    """Seconds in Retry-After of such an answer; None leaves the header out."""
