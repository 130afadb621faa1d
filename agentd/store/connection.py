"""Opening the store: one SQLite file, or PostgreSQL for a fleet. What cannot be opened is refused in one clear line."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select, text, update
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agentd.clock import Clock
from agentd.errors import ConfigurationError, StoreError, StoreRefused
from agentd.store import schema
from agentd.store.engines import BUSY_SECONDS, OPEN_SECONDS, connect, memory_engine, postgres_engine, sqlite_engine

_SCHEMA_LOCK = 4711
_REFUSED = ("22", "23502", "54", "42804", "42846")
"""How the SQLSTATE of a refused value begins: what it is, that it is missing, how large it is, of which type.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


@dataclass(frozen=True)
class Store:
    """An open store. `read()` and `write()` are transactions; a write transaction is exclusive on SQLite."""

    engine: Engine
    clock: Clock
    name: str
    """file or address without a password, for messages"""
    path: Path | None = None
    """the file of a SQLite store"""
    open_seconds: float = OPEN_SECONDS
    """how long a PostgreSQL that was there may be out of reach before a read or write gives up"""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._translated(), connect(self.engine, self.open_seconds) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._translated(), connect(self.engine, self.open_seconds) as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def installation_id(self) -> str:
        """A random id made with the store; says who holds a claim on the remote."""
        with self.read() as connection:
            found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "installation_id"))
            return str(found.scalar_one())

    def lease_now(self, connection: Connection) -> float:
        """Seconds on the clock that leases are measured by.

        SQLite is one machine's: boot time, which a changed wall clock does not touch. PostgreSQL serves
        several machines: the database's own clock.
        """
        if self.is_sqlite:
            return self.clock.boottime()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def lease_boot(self) -> str:
        """Boot that `lease_now` belongs to; constant for PostgreSQL."""
        return self.clock.boot_id() if self.is_sqlite else "database"

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PendingRollbackError, PoolTimeout, UnicodeError, OverflowError) as error:
            kind = StoreRefused if is_of_data(error) else StoreError
            raise kind(explain(self.name, error)) from error


def open_store(
    database_url: str,
    state_dir: Path,
    clock: Clock,
    *,
    create: bool = True,
    read_only: bool = False,
    busy_seconds: float = BUSY_SECONDS,
) -> Store:
    """Open and, when `create`, make or migrate the store. Raises StoreError naming the file or address.

    `read_only` leaves every byte of a SQLite file as it is, the write-ahead log's too. `busy_seconds` is how long
    another program may hold the file's lock.
    """
    path = None if database_url else state_dir / "agentd.db"
    if path is None:
        engine = postgres_engine(database_url)
        name = engine.url.render_as_string(hide_password=True)
    else:
        name = str(path)
        if create:
            try:
                state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise StoreError(f"{state_dir}: the state directory cannot be made: {error.strerror}") from None
        elif not path.is_file():
            raise StoreError(f"{path}: no store yet; `agentd start` or `agentd once` makes it")
        engine = sqlite_engine(path, read_only, busy_seconds)
    store = Store(engine, clock, name, path)
    try:
        _migrate(store, create=create)
    except DBAPIError as error:
        raise StoreError(explain(name, error)) from None
    return store


def bind(store: Store, repo: str) -> None:
    """Tie the store to a repository and to its place. Raises ConfigurationError when it belongs to another repository.

    Task ids, workspaces and runs name no repository: with two in one store `issue-1` would mean two things.
    Only for the one process that decides on this store.
    """
    from agentd.store.place import settle  # which needs this module itself

    with store.write() as connection:
        query = select(schema.meta.c.value).where(schema.meta.c.key == "repo")
        found = connection.execute(query).scalar()
        if found is None:
            connection.execute(insert(schema.meta).values(key="repo", value=repo))
    if found is not None and str(found).casefold() != repo.casefold():
        raise ConfigurationError(
            f"{store.name}: belongs to {found}, not to {repo}; give each repository its own AGENT_STATE_DIR"
        )
    settle(store, repo)


def scratch_copy(store: Store | None, clock: Clock) -> Store:
    """A store in memory with the same rows (or none): a dry run works on it, and nothing of it is kept."""
    copy = Store(memory_engine(), clock, "memory", store.path if store is not None else None)
    _create(copy)
    if store is None:
        return copy
    with store.read() as source, copy.write() as target:
        for table in (*schema.metadata.sorted_tables,):
            if table is schema.meta:
                target.execute(table.delete())
            rows = [dict(row) for row in source.execute(select(table).order_by(*table.primary_key)).mappings()]
            if rows:
                target.execute(insert(table), rows)
    return copy


def _migrate(store: Store, *, create: bool) -> None:
    try:
        known = inspect(store.engine).has_table("meta")
    except SQLAlchemyError as error:
        raise StoreError(explain(store.name, error)) from None
    if not known and not create:
        raise StoreError(f"{store.name}: no store yet; `agentd start` or `agentd once` makes it")
    if not known:
        _create(store)
    found = _version(store)
    if found is None or found > schema.VERSION:
        raise StoreError(
            f"{store.name}: schema version {found} is newer than this agentd knows ({schema.VERSION}); "
            "upgrade agentd, or point it at another store"
        )
    if found < schema.VERSION and not create:
        raise StoreError(
            f"{store.name}: schema version {found} is older than this agentd's ({schema.VERSION}); "
            "`agentd start` or `agentd once` brings it up to date"
        )
    if found < schema.VERSION:
        _upgrade(store)


def _version(store: Store, connection: Connection | None = None) -> int | None:
    query = select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
    if connection is not None:
        found = connection.execute(query).scalar()
    else:
        with store.read() as opened:
            found = opened.execute(query).scalar()
    return None if found is None else int(found)


def _upgrade(store: Store) -> None:
    """Bring an older store up to date in one transaction; another process may have been quicker."""
    with store.write() as connection:
        if not store.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})"))
        for version in range((_version(store, connection) or 0) + 1, schema.VERSION + 1):
            for statement in schema.MIGRATIONS[version]:
                connection.execute(text(statement))
        schema.metadata.create_all(connection)
        _protect(store, connection)
        key = schema.meta.c.key == "schema_version"
        connection.execute(update(schema.meta).where(key).values(value=str(schema.VERSION)))


def _create(store: Store) -> None:
    with store.write() as connection:
        if not store.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})"))
            if inspect(connection).has_table("meta"):
                return
        schema.metadata.create_all(connection)
        _protect(store, connection)
        connection.execute(
            insert(schema.meta),
            [
                {"key": "schema_version", "value": str(schema.VERSION)},
                {"key": "installation_id", "value": uuid.uuid4().hex[:12]},
            ],
        )


def _protect(store: Store, connection: Connection) -> None:
    """Let the ledger take nothing but rows behind its last one."""
    for statement in schema.APPEND_ONLY[store.engine.dialect.name]:
        connection.exec_driver_sql(statement)


def is_of_data(error: Exception) -> bool:
    """True when a database that is there has refused a value, as it would again; drivers refuse some by themselves."""
    if isinstance(error, StoreRefused | DataError | UnicodeError | OverflowError):
        return True
    return str(getattr(getattr(error, "orig", None), "sqlstate", None)).startswith(_REFUSED)


def explain(name: str, error: Exception) -> str:
    """One line: which file or address, what it said, and what to do."""
    said = str(getattr(error, "orig", None) or error).splitlines()[0]
    if is_of_data(error):
        return f"{name}: the store does not take a value: {said}"
    hint = ""
    if "malformed" in said or "not a database" in said:
        hint = "; the file is damaged: move it away, and agentd rebuilds its state from GitHub"
    elif "locked" in said:
        hint = "; another program holds its lock (`fuser` on the file names it)"
    elif "full" in said or "disk I/O" in said:
        hint = "; free space on its disk"
    elif "unable to open" in said or "readonly" in said:
        hint = "; check the folder's owner and rights"
    elif isinstance(error, OperationalError):
        hint = "; check that the database is up and may be reached"
    return f"{name}: the store cannot be used: {said}{hint}"
