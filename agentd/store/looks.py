"""Which run's pull request was asked for last of those that are too old for the list: the next look goes on behind it.

It is kept here and not in the process, which may be a new one at every look (`agentd once`).
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from agentd.store import schema
from agentd.store.connection import Store

KEY = "looked_at_last"
"""Key in the table meta."""


def note_look(store: Store, run_id: str) -> None:
    """The newest replaces the one before."""
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == KEY))
        connection.execute(insert(schema.meta).values(key=KEY, value=run_id))


def last_look(store: Store) -> str:
    """The run's id; empty before the first."""
    with store.read() as connection:
        return str(connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == KEY)).scalar() or "")
