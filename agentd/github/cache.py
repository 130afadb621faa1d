"""Where ETags are kept: anything with `get` and `put`. The store has a lasting one; this one lives in memory."""

from __future__ import annotations

from typing import Protocol


class EtagCache(Protocol):
    """Keeps the last ETag and body of a conditional request. Must be safe to use from several threads."""

    def get(self, key: str) -> tuple[str, str] | None:
        """(etag, body) as they were put, or None."""

    def put(self, key: str, etag: str, body: str) -> None:
        """Replaces what stood under the key."""


class MemoryCache:
    """Forgets with the process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, str]] = {}

    def get(self, key: str) -> tuple[str, str] | None:
        return self._kept.get(key)

    def put(self, key: str, etag: str, body: str) -> None:
        self._kept[key] = (etag, body)
