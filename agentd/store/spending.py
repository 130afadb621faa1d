"""Model calls in the store: keys of runs, meters, one spend row a call, and which gateways live.

Statements are written out: they stand in the way of every model call, and building them would take longer than running
them. `marks` is the one difference between the two databases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, text, update

from agentd.policy.budgets import Amount, Meter
from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.engines import BUSY_SECONDS, sqlite_engine

ENFORCEMENT = "budget_enforcement"
"""Key in the table meta: `on` or `off`, once somebody has said so."""
_ADVISORY_LOCK = 4713


class Call(NamedTuple):
    """One row of the table spend, its fields in the order of the columns."""

    call_id: str
    gateway: str
    run_id: str
    task_id: str
    profile: str
    model: str
    dialect: str
    upstream: str
    day: str
    state: str
    """open or settled"""
    status: int
    """HTTP status of the answer; 499 when the client went away, 0 while there is none"""
    estimated: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    nano_usd: int | None
    cost_usd: float | None
    extra_hash: str
    started_at: str
    finished_at: str | None

    @property
    def amount(self) -> Amount:
        """What it has reserved while it is open, and what it used afterwards."""
        return Amount(self.nano_usd or 0, self.input_tokens + self.output_tokens, 1)


_COLUMNS = ", ".join(Call._fields)
_CHANGED = (
    *("state", "status", "estimated", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "nano_usd", "cost_usd", "finished_at"),
)
_METER = "used_nano_usd, used_tokens, used_calls, reserved_nano_usd, reserved_tokens, reserved_calls, noticed"


@dataclass(frozen=True)
class Key:
    """One row of the table gateway_keys."""

    key_hash: str
    run_id: str
    task_id: str
    profile: str
    models: tuple[str, ...]
    request_extra: Mapping[str, Any]
    door: str
    expires_at: datetime
    revoked: bool = False


def metering(store: Store) -> Store:
    """The same store for what model calls wait for. With SQLite a commit outlives the process, maybe no power cut."""
    if not store.is_sqlite or store.path is None or store.engine.url.database is None:
        return store
    return replace(store, engine=sqlite_engine(store.path, False, BUSY_SECONDS, "NORMAL"))


class Transactions:
    """Write transactions of one thread, one gateway at a time.

    With SQLite they share a connection: opening one for each would take as long as all its statements.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction. Raises StoreError, or what the driver raises."""
        if not self._store.is_sqlite:
            with self._store.write() as connection:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                yield connection
            return
        if self._kept is None:
            self._kept = self._store.engine.connect()
        driver = _driver(self._kept)
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield self._kept
            driver.commit()
        except BaseException:
            driver.rollback()
            raise
        finally:
            if self._kept.in_transaction():  # as SQLAlchemy sees it
                self._kept.rollback()

    def close(self) -> None:
        """Give the connection back."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def seen(store: Store, connection: Connection) -> tuple[int, int] | None:
    """Changes when anybody else has written since; None where that cannot be told.

    https://www.sqlite.org/pragma.html#pragma_data_version
    """
    if not store.is_sqlite:
        return None
    driver = _driver(connection)
    return id(driver), int(driver.execute("PRAGMA data_version").fetchone()[0])


def marks(store: Store, count: int) -> str:
    """Places for so many values in a statement of the driver's."""
    return ", ".join(["?" if store.is_sqlite else "%s"] * count)


def load_meters(store: Store, connection: Connection, scopes: Iterable[str]) -> dict[str, Meter]:
    """The meters of these scopes; those that have none yet stand at zero."""
    wanted = tuple(dict.fromkeys(scopes))
    statement = f"SELECT scope, {_METER} FROM meters WHERE scope IN ({marks(store, len(wanted))})"
    found = {row[0]: _meter(row) for row in _driver(connection).execute(statement, wanted)} if wanted else {}
    return {scope: found.get(scope, Meter()) for scope in wanted}


def save_meters(store: Store, connection: Connection, meters: Mapping[str, Meter]) -> None:
    """Write meters as they are given. Only within `Transactions.transaction`."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in _METER.split(", "))
    statement = (
        f"INSERT INTO meters (scope, {_METER}) VALUES ({marks(store, 8)}) ON CONFLICT (scope) DO UPDATE SET {sets}"
    )
    rows = [
        (
            scope,
            *(meter.used.nano_usd, meter.used.tokens, meter.used.calls),
            *(meter.reserved.nano_usd, meter.reserved.tokens, meter.reserved.calls),
            meter.noticed,
        )
        for scope, meter in meters.items()
    ]
    if rows:
        _driver(connection).cursor().executemany(statement, rows)


def all_meters(store: Store) -> dict[str, Meter]:
    """Every meter by its scope."""
    with store.read() as connection:
        rows = connection.exec_driver_sql(f"SELECT scope, {_METER} FROM meters ORDER BY scope")
        return {row[0]: _meter(tuple(row)) for row in rows}


def add_calls(store: Store, connection: Connection, calls: Sequence[Call]) -> None:
    """Insert rows."""
    if calls:
        statement = f"INSERT INTO spend ({_COLUMNS}) VALUES ({marks(store, len(Call._fields))})"
        _driver(connection).cursor().executemany(statement, calls)


def change_calls(store: Store, connection: Connection, calls: Sequence[Call]) -> None:
    """Write what settling changes."""
    if calls:
        mark = marks(store, 1)
        statement = f"UPDATE spend SET {', '.join(f'{name} = {mark}' for name in _CHANGED)} WHERE call_id = {mark}"
        rows = [(*(getattr(call, name) for name in _CHANGED), call.call_id) for call in calls]
        _driver(connection).cursor().executemany(statement, rows)


def load_calls(store: Store, connection: Connection, call_ids: Sequence[str]) -> dict[str, Call]:
    """Rows by their ids."""
    if not call_ids:
        return {}
    statement = f"SELECT {_COLUMNS} FROM spend WHERE call_id IN ({marks(store, len(call_ids))})"
    return {row[0]: Call(*row) for row in _driver(connection).execute(statement, tuple(call_ids))}


def open_calls(connection: Connection) -> list[Call]:
    """Calls that are on their way, or whose gateway died meanwhile."""
    query = f"SELECT {_COLUMNS} FROM spend WHERE state = 'open'"
    return [Call(*row) for row in connection.exec_driver_sql(query)]


def calls_of(store: Store, run_id: str | None = None) -> list[Call]:
    """The calls of a run, or of all, in the order of their beginning."""
    columns = [schema.spend.c[name] for name in Call._fields]
    query = select(*columns).order_by(schema.spend.c.started_at, schema.spend.c.call_id)
    if run_id is not None:
        query = query.where(schema.spend.c.run_id == run_id)
    with store.read() as connection:
        return [Call(*row) for row in connection.execute(query)]


def add_key(store: Store, key: Key) -> None:
    """Store a key by its hash; the key itself is never kept."""
    with store.write() as connection:
        connection.execute(
            insert(schema.gateway_keys).values(
                key_hash=key.key_hash,
                run_id=key.run_id,
                task_id=key.task_id,
                profile=key.profile,
                models=json.dumps(key.models),
                request_extra=json.dumps(dict(key.request_extra)),
                door=key.door,
                created_at=store.clock.now().isoformat(),
                expires_at=key.expires_at.isoformat(),
            )
        )


def load_keys(store: Store, connection: Connection, hashes: Iterable[str]) -> dict[str, Key]:
    """Keys by their hashes, revoked and expired ones too."""
    wanted = tuple(dict.fromkeys(hashes))
    if not wanted:
        return {}
    statement = (
        "SELECT key_hash, run_id, task_id, profile, models, request_extra, door, expires_at, revoked "
        f"FROM gateway_keys WHERE key_hash IN ({marks(store, len(wanted))})"
    )
    return {row[0]: _key(row) for row in _driver(connection).execute(statement, wanted)}


def revoke(store: Store, *, run_id: str | None = None, key_hash: str | None = None) -> int:
    """End the keys of a run, or one key; how many were valid until now."""
    table = schema.gateway_keys
    where = table.c.run_id == run_id if run_id is not None else table.c.key_hash == key_hash
    with store.write() as connection:
        return connection.execute(update(table).where(where, table.c.revoked == 0).values(revoked=1)).rowcount


def enforcement(connection: Connection) -> bool | None:
    """What somebody has said about hard limits; None when nobody has."""
    found = connection.exec_driver_sql(f"SELECT value FROM meta WHERE key = '{ENFORCEMENT}'").scalar()
    return None if found is None else found == "on"


def set_enforcement(store: Store, on: bool) -> None:
    """Switch hard limits on or off for every gateway of this store, from its next call on."""
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == ENFORCEMENT))
        connection.execute(insert(schema.meta).values(key=ENFORCEMENT, value="on" if on else "off"))


def beat(store: Store, connection: Connection, gateway: str, lease_seconds: float) -> None:
    """Say that a gateway lives."""
    values = {"deadline": store.lease_now(connection) + lease_seconds, "boot_id": store.lease_boot()}
    table = schema.gateways
    if not connection.execute(update(table).where(table.c.gateway == gateway).values(**values)).rowcount:
        connection.execute(insert(table).values(gateway=gateway, **values))


def forget_silent(store: Store, connection: Connection) -> None:
    """Take gateways off the list whose heartbeat is overdue; one that only slept comes back with its next."""
    table = schema.gateways
    silent = (table.c.boot_id != store.lease_boot()) | (table.c.deadline < store.lease_now(connection))
    connection.execute(delete(table).where(silent))


def living(connection: Connection) -> set[str]:
    """Gateways on the list."""
    return set(connection.execute(select(schema.gateways.c.gateway)).scalars())


def leave(connection: Connection, gateways: Iterable[str]) -> None:
    """Take gateways off the list: they have nothing open any more."""
    connection.execute(delete(schema.gateways).where(schema.gateways.c.gateway.in_(list(gateways))))


def count_calls(store: Store) -> int:
    """How many rows there are."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(schema.spend)).scalar_one())


def _driver(connection: Connection) -> Any:
    """The driver's own connection, within the transaction: sqlite3's and psycopg's are alike in what is used here."""
    return connection.connection.driver_connection


def _meter(values: Sequence[Any]) -> Meter:
    return Meter(Amount(*values[1:4]), Amount(*values[4:7]), values[7])


def _key(values: Sequence[Any]) -> Key:
    return Key(
        key_hash=values[0],
        run_id=values[1],
        task_id=values[2],
        profile=values[3],
        models=tuple(json.loads(values[4])),
        request_extra=json.loads(values[5]),
        door=values[6],
        expires_at=datetime.fromisoformat(values[7]),
        revoked=bool(values[8]),
    )
