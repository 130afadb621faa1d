"""The last plan of the supervisor: for every labelled issue, what it decided and why. For who watches."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete, insert, select

from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.glance import Glance

KEY = "last_plan"
"""Key in the table meta."""
MOST_TASKS = 2_000
"""Kept of a plan; the later ones of its order are left out."""


def note_plan(store: Store, rows: list[dict[str, Any]]) -> bool:
    """Keep a plan in its order; True when it says anything new."""
    value = json.dumps(rows[:MOST_TASKS])
    key = schema.meta.c.key == KEY
    with store.read() as connection:
        if connection.execute(select(schema.meta.c.value).where(key)).scalar() == value:
            return False
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(key))
        connection.execute(insert(schema.meta).values(key=KEY, value=value))
    return True


def rows_of(look: Glance) -> list[dict[str, Any]]:
    """Rows as they were kept; empty before the first plan."""
    found = look.value("SELECT value FROM meta WHERE key = ?", KEY)
    rows: list[dict[str, Any]] = json.loads(found) if found else []
    return rows
