"""Answers of conditional requests, kept across restarts so that an unchanged repository costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select

from agentd.store import schema
from agentd.store.connection import Store


@dataclass(frozen=True)
class StoredEtags:
    """The cache that agentd.github.poller asks for."""

    store: Store

    def get(self, key: str) -> tuple[str, str] | None:
        """(etag, body) or None."""
        with self.store.read() as connection:
            row = connection.execute(select(schema.etags).where(schema.etags.c.key == key)).first()
        return (row.etag, row.body) if row else None

    def put(self, key: str, etag: str, body: str) -> None:
        with self.store.write() as connection:
            connection.execute(delete(schema.etags).where(schema.etags.c.key == key))
            at = self.store.clock.now().isoformat()
            connection.execute(insert(schema.etags).values(key=key, etag=etag, body=body, at=at))

    def forget(self, before: datetime) -> None:
        """Drop what has not been new since then; whoever still wants it asks without a condition, once."""
        with self.store.write() as connection:
            connection.execute(delete(schema.etags).where(schema.etags.c.at < before.isoformat()))


class RecalledEtags:
    """Starts from what a store knows, and keeps what comes new in memory: for who may not write."""

    def __init__(self, store: Store | None) -> None:
        self._stored = StoredEtags(store) if store is not None else None
        self._new: dict[str, tuple[str, str]] = {}

    def get(self, key: str) -> tuple[str, str] | None:
        """(etag, body) or None."""
        return self._new.get(key) or (self._stored.get(key) if self._stored else None)

    def put(self, key: str, etag: str, body: str) -> None:
        self._new[key] = (etag, body)
