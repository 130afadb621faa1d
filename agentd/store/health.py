"""Is the store sound: its file, and the end of its ledger. Reads only."""

from __future__ import annotations

from sqlalchemy import select

from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.ledger import link


def damage(store: Store, most: int = 3) -> list[str]:
    """What SQLite finds wrong with the file; [] when nothing, and for PostgreSQL, which looks after itself.

    https://www.sqlite.org/pragma.html#pragma_quick_check
    """
    if not store.is_sqlite:
        return []
    with store.read() as connection:
        rows = connection.exec_driver_sql(f"PRAGMA quick_check({int(most)})")
        found = [str(row[0]) for row in rows]
    return [] if found == ["ok"] else found


def broken_links(store: Store, newest: int) -> tuple[int, list[int]]:
    """(how many of the ledger's newest rows were looked at, sequence numbers of those that do not fit the chain)."""
    query = select(schema.events).order_by(schema.events.c.seq.desc()).limit(newest + 1)
    with store.read() as connection:
        rows = list(reversed(list(connection.execute(query))))
    begins = not rows or rows[0].seq == 1
    prev, seq = (schema.GENESIS, 0) if begins else (rows[0].hash, rows[0].seq)
    looked = rows if begins else rows[1:]
    wrong = []
    for row in looked:
        if row.seq != seq + 1 or row.prev != prev or row.hash != link(row.seq, row.prev, row.body):
            wrong.append(int(row.seq))
        prev, seq = row.hash, row.seq
    return len(looked), wrong
