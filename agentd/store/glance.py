"""A quick look into the store, in plain SQL: importing the query builder takes longer than all else that a look does.

The statements are the same for SQLite and PostgreSQL. Nothing here writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentd.clock import Clock
from agentd.errors import StoreError

BUSY_SECONDS = 5.0
SKEW = timedelta(minutes=10)
"""What clocks of hosts may differ by: what another one has set just now is no hold from the future."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Glance:
    """An open look."""

    ask: Callable[[str, tuple[Any, ...]], list[Row]]
    lease_now: float
    """the clock that leases are measured by; see Store.lease_now"""
    lease_boot: str
    now: datetime

    def rows(self, statement: str, *values: Any) -> list[Row]:
        """The rows of a statement, `?` standing for each value."""
        return self.ask(statement, values)

    def value(self, statement: str, *values: Any) -> Any:
        """The only value, or None."""
        return next((next(iter(row.values())) for row in self.ask(statement, values)), None)

    def seconds_left(self, row: Row) -> float:
        """What is left of a claim or a heartbeat; 0 when it is over, given back or of another boot."""
        if row.get("released") or row["boot_id"] != self.lease_boot:
            return 0.0
        return max(0.0, float(row["deadline"]) - self.lease_now)


@contextmanager
def glance(database_url: str, state_dir: Path, clock: Clock) -> Iterator[Glance | None]:
    """Look into the store; None when there is none yet. Raises StoreError."""
    path = state_dir / "agentd.db"
    if database_url:
        with _elsewhere(database_url, state_dir, clock) as found:
            yield found
    elif not path.is_file():
        yield None
    else:
        try:
            with closing(_connected(path)) as connection:
                made = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # its tables come at once
                look = Glance(_asking(connection), clock.boottime(), clock.boot_id(), clock.now())
                yield look if made else None
        except sqlite3.Error as error:
            raise _explained(state_dir, clock, error) from None


def hold_end(since: str, retry_at: str | None, now: datetime) -> datetime | None:
    """When a hold ends, on a clock that may have been set back since: waits are for minutes, clocks jump by hours."""
    if retry_at is None:
        return None
    until = datetime.fromisoformat(retry_at)
    return min(until, now) if datetime.fromisoformat(since) > now + SKEW else until


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    connection.row_factory = sqlite3.Row
    return connection


def _asking(connection: sqlite3.Connection) -> Callable[[str, tuple[Any, ...]], list[Row]]:
    return lambda statement, values: [dict(row) for row in connection.execute(statement, values)]


def _explained(state_dir: Path, clock: Clock, error: sqlite3.Error) -> StoreError:
    """What opening the store says of it: damaged, of another version, locked."""
    from agentd.store.connection import open_store

    try:
        open_store("", state_dir, clock, create=False, read_only=True, busy_seconds=BUSY_SECONDS).close()
    except StoreError as explained:
        return explained
    return StoreError(f"{state_dir / 'agentd.db'}: the store cannot be read: {error}")


@contextmanager
def _elsewhere(database_url: str, state_dir: Path, clock: Clock) -> Iterator[Glance]:
    from agentd.store.connection import open_store

    store = open_store(database_url, state_dir, clock, create=False, read_only=True)
    try:
        with store.read() as connection:

            def ask(statement: str, values: tuple[Any, ...]) -> list[Row]:
                found = connection.exec_driver_sql(statement.replace("%", "%%").replace("?", "%s"), values)
                return [dict(row) for row in found.mappings()]

            yield Glance(ask, store.lease_now(connection), store.lease_boot(), clock.now())
    finally:
        store.close()
