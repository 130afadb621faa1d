"""What is still to be made of runs that have come to their end: their evidence, and their traces for each sink."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from agentd.states import ACTIVE
from agentd.store import schema
from agentd.store.connection import Store


def due(store: Store, kind: str, limit: int) -> list[tuple[str, int]]:
    """(run, tries so far) of ended runs, or in review, for which this is not done; the oldest first."""
    runs, exports = schema.runs, schema.exports
    joined = runs.outerjoin(exports, (exports.c.run_id == runs.c.run_id) & (exports.c.kind == kind))
    now = store.clock.now().isoformat()
    query = (
        select(runs.c.run_id, exports.c.tries)
        .select_from(joined)
        .where(runs.c.state.not_in(ACTIVE), exports.c.done.is_(None) | (exports.c.done == 0))
        .where(exports.c.retry_at.is_(None) | (exports.c.retry_at <= now))
        .order_by(runs.c.started_at)
        .limit(limit)
    )
    with store.read() as connection:
        return [(row.run_id, row.tries or 0) for row in connection.execute(query)]


def note(store: Store, run_id: str, kind: str, *, done: bool, tries: int, retry_at: datetime | None = None) -> None:
    """Write down how it went."""
    table = schema.exports
    values = {"done": int(done), "tries": tries, "retry_at": retry_at.isoformat() if retry_at else None}
    made = sqlite.insert(table) if store.is_sqlite else postgresql.insert(table)
    keys = [table.c.run_id, table.c.kind]
    with store.write() as connection:
        connection.execute(
            made.values(run_id=run_id, kind=kind, **values).on_conflict_do_update(index_elements=keys, set_=values)
        )
