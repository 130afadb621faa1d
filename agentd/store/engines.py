"""Database engines: how a SQLite file and a PostgreSQL are opened, and how long each is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import StaticPool

from agentd.errors import ConfigurationError
from agentd.plain import storable

Synchronous = Literal["FULL", "NORMAL"]
BUSY_SECONDS = 30.0
"""How long another program may hold the lock of a SQLite file."""
OPEN_SECONDS = 20.0
"""How long PostgreSQL may be out of reach before a read or write gives up."""
WAITS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's limits on a server that is not there any more: without them a cut line is noticed after hours."""
SERVER_WAITS = "-c idle_in_transaction_session_timeout=10s"
"""The other way round: a machine that is stopped in a transaction must not keep the locks of the fleet meanwhile."""


def sqlite_engine(path: Path, read_only: bool, busy_seconds: float, synchronous: Synchronous = "FULL") -> Engine:
    """Opens the file when it is first used. `read_only` changes no byte of it.

    With `synchronous` NORMAL a commit does not wait for the disk: no process can lose it, a power cut may
    (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    address = f"sqlite:///file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}&uri=true"
    engine = create_engine(address, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    event.listens_for(engine, "before_cursor_execute", retval=True)(_with_storable_texts)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        _autocommit(connection, _record)
        if read_only:
            return
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.close()

    return engine


def memory_engine() -> Engine:
    """A SQLite database that is gone with the process."""
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    event.listens_for(engine, "connect")(_autocommit)
    event.listens_for(engine, "before_cursor_execute", retval=True)(_with_storable_texts)
    return engine


def postgres_engine(database_url: str) -> Engine:
    """A pool of connections, each tried before use. Raises ConfigurationError when the address is none of PostgreSQL's.

    What the address itself says of waits goes before WAITS.
    """
    wanted = "database_url: must be postgresql+psycopg://user@host/name"
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError(wanted) from None
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(f"{wanted}, not {url.get_backend_name()}")
    waits = {name: value for name, value in (WAITS | {"options": SERVER_WAITS}).items() if name not in url.query}
    engine = create_engine(url, pool_size=4, max_overflow=8, pool_pre_ping=True, connect_args=waits)
    event.listens_for(engine, "before_cursor_execute", retval=True)(_with_storable_texts)
    return engine


def connect(engine: Engine, seconds: float) -> Connection:
    """A connection. PostgreSQL may be restarted beside us: it is asked again for so many seconds before giving up."""
    if engine.dialect.name == "sqlite":
        return engine.connect()
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

    again = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_delay(seconds),
        wait=wait_exponential(0.1, max=2),
        reraise=True,
    )
    return again(engine.connect)


def _autocommit(connection: Any, _record: Any) -> None:
    """Python's sqlite3 would begin transactions by itself, and later than we do."""
    connection.isolation_level = None


def _with_storable_texts(
    _connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """Every statement passes here, a written out one too: what agents, issues and repositories say is never refused."""
    return statement, storable(values)
