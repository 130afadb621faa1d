"""For whom and under which address something is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class View:
    """`origin` is scheme, host and port as the client used them, because clients check that links lead back there."""

    origin: str
    prefix: str = ""
    """/api/v3 when the client came that way."""

    def api(self, path: str) -> str:
        return f"{self.origin}{self.prefix}{path}"

    def html(self, path: str) -> str:
        return f"{self.origin}{path}"


def stamp(at: datetime) -> str:
    """GitHub's form of a time: UTC, no fraction."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_or_none(at: datetime | None) -> str | None:
    return None if at is None else stamp(at)
