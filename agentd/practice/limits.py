"""Rate limits: points a user and resource, and content writes a minute.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

SEARCH_LIMIT = 30
SEARCH_WINDOW_SECONDS = 60


@dataclass
class Bucket:
    """Points of one user for one resource, until `reset`."""

    limit: int
    used: int
    reset: datetime

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


@dataclass
class Limits:
    limit: int = 5000
    start_used: int = 0
    """Points a fresh bucket has already spent; they come back at its first reset."""
    window_seconds: int = 3600
    buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    writes: dict[str, list[datetime]] = field(default_factory=dict)

    def set(self, limit: int, remaining: int | None, reset_in: int) -> None:
        """Starts all buckets anew with these numbers."""
        self.limit, self.window_seconds = limit, reset_in
        self.start_used = 0 if remaining is None else limit - remaining
        self.buckets.clear()

    def bucket(self, user: str, resource: str, now: datetime) -> Bucket:
        """The present bucket; a new one after its reset."""
        found = self.buckets.get((user, resource))
        if found is not None and now < found.reset:
            return found
        search = resource == "search"
        window = timedelta(seconds=SEARCH_WINDOW_SECONDS if search else self.window_seconds)
        used = self.start_used if found is None and not search else 0
        fresh = Bucket(SEARCH_LIMIT if search else self.limit, used, now + window)
        self.buckets[user, resource] = fresh
        return fresh

    def write_refused(self, user: str, now: datetime, allowed: int | None) -> bool:
        """Counts a content-creating request; True when the user had more than `allowed` in the last minute."""
        recent = [at for at in self.writes.get(user, []) if now - at < timedelta(minutes=1)]
        refused = allowed is not None and len(recent) >= allowed
        self.writes[user] = recent if refused else [*recent, now]
        return refused


def headers_of(bucket: Bucket, resource: str) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(bucket.limit),
        "X-RateLimit-Remaining": str(bucket.remaining),
        "X-RateLimit-Used": str(bucket.used),
        "X-RateLimit-Reset": str(int(bucket.reset.timestamp())),
        "X-RateLimit-Resource": resource,
    }
