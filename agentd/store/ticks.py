"""When the supervisor last looked at GitHub, when it will again, and what GitHub had left for it: for who watches."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select

from agentd.store import schema
from agentd.store.connection import Store

KEY = "last_tick"
"""Key in the table meta."""


@dataclass(frozen=True)
class TickNote:
    """One tick."""

    at: datetime
    next_at: datetime
    requests_left: int | None = None
    """of GitHub's hourly quota; None when it was not told"""
    requests_limit: int | None = None
    requests_reset_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is stored, and shown."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


def note_tick(store: Store, note: TickNote) -> None:
    """The newest replaces the one before."""
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == KEY))
        connection.execute(insert(schema.meta).values(key=KEY, value=json.dumps(note.to_json())))


def last_tick(store: Store) -> TickNote | None:
    """None before the first."""
    with store.read() as connection:
        found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == KEY)).scalar()
    if found is None:
        return None
    row = json.loads(found)
    times = {name: datetime.fromisoformat(row[name]) for name in ("at", "next_at")}
    reset = row.get("requests_reset_at")
    return TickNote(
        **times,
        requests_left=row.get("requests_left"),
        requests_limit=row.get("requests_limit"),
        requests_reset_at=datetime.fromisoformat(reset) if reset else None,
    )
