"""Is the store sound: its file, and the end of its ledger. Reads only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select

from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.ledger import link

MOST = 3
BUSY_SECONDS = 2.0


def damage(store: Store) -> list[str]:
    """What SQLite finds wrong with the store's file; [] when nothing, and for PostgreSQL, which looks after itself."""
    return damage_of(store.path) if store.is_sqlite and store.path is not None else []


def damage_of(path: Path) -> list[str]:
    """The same of any SQLite file. https://www.sqlite.org/pragma.html#pragma_quick_check"""
    address = f"file:{quote(str(path))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({MOST})")]
    except sqlite3.Error as error:
        return [str(error)]
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
