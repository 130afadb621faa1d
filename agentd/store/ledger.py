"""The append-only, hash-chained ledger of Events; events.jsonl is its projection. Its order is that of the sequence
numbers: time stamps come from clocks that jump, and decide nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Condition, Lock
from time import sleep
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, func, select, text

from agentd.errors import StoreError
from agentd.model import Event, canonical_json
from agentd.plain import storable
from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.spending import marks

GENESIS = schema.GENESIS
EVENT_VERSION = 1
"""Of the events that this agentd writes and reads."""
PAGE = 1000
GATHER_SECONDS = 0.001
"""Wait of a commit for more to write, while several threads write: what those are at who were just served."""
_ADVISORY_LOCK = 4712
_COLUMNS = ("seq", "event_id", "run_id", "task_id", "body", "prev", "hash")


def append(store: Store, event: Event) -> int:
    """Write one event; its sequence number. What several threads append meanwhile is committed together."""
    return _group_of(store).append(store, event)


def append_in(store: Store, connection: Connection, event: Event) -> int:
    """Write one event as part of a transaction, so that the event and what it tells of stand or fall together."""
    return _insert(store, connection, [(event, body_of(event))])


def body_of(event: Event) -> str:
    """What is chained: the event's canonical JSON, as the store will have it."""
    return str(storable(canonical_json(event.model_dump(mode="json", exclude_none=True))))


def link(seq: int, prev: str, body: str) -> str:
    """The chain: sha256 over the previous hash, the sequence number and the event's canonical JSON."""
    return hashlib.sha256(f"{prev}\n{seq}\n{body}".encode()).hexdigest()


def last_row(store: Store) -> tuple[int, str]:
    """(sequence number, hash) of the last row; (0, zeros) of an empty ledger."""
    with store.read() as connection:
        return _last(connection)


def hash_of(store: Store, seq: int) -> str:
    """The hash of a row; empty when there is none."""
    with store.read() as connection:
        query = select(schema.events.c.hash).where(schema.events.c.seq == seq)
        return str(connection.execute(query).scalar() or "")


def events_after(store: Store, seq: int, limit: int = PAGE) -> list[tuple[int, str]]:
    """(sequence number, canonical JSON) of later events, in order."""
    query = (
        select(schema.events.c.seq, schema.events.c.body)
        .where(schema.events.c.seq > seq)
        .order_by(schema.events.c.seq)
        .limit(limit)
    )
    with store.read() as connection:
        return [(row.seq, row.body) for row in connection.execute(query)]


def newest(store: Store, limit: int, task_id: str | None = None) -> list[tuple[int, str]]:
    """(sequence number, canonical JSON) of the newest events, of all or of one task, in order."""
    query = select(schema.events.c.seq, schema.events.c.body).order_by(schema.events.c.seq.desc()).limit(limit)
    if task_id is not None:
        query = query.where(schema.events.c.task_id == task_id)
    with store.read() as connection:
        return [(row.seq, row.body) for row in reversed(list(connection.execute(query)))]


def events_of(store: Store, run_id: str) -> list[Event]:
    """The events of a run. Raises StoreError naming the first of a version that only a later agentd knows."""
    return [event for _, event in numbered_events_of(store, run_id)]


def numbered_events_of(store: Store, run_id: str) -> list[tuple[int, Event]]:
    """The same with their sequence numbers."""
    columns = (schema.events.c.seq, schema.events.c.body)
    query = select(*columns).where(schema.events.c.run_id == run_id).order_by(schema.events.c.seq)
    with store.read() as connection:
        return [(row.seq, read_event(f"sequence {row.seq}", json.loads(row.body))) for row in connection.execute(query)]


def read_event(where: str, value: dict[str, object]) -> Event:
    """An event from its JSON. Raises StoreError for one of another schema version, which must not be misread."""
    version = value.get("schema_version")
    if version != EVENT_VERSION:
        raise StoreError(f"{where}: an event of schema version {version}; this agentd reads version {EVENT_VERSION}")
    return Event.model_validate(value)


def count(store: Store) -> int:
    """How many events there are."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(schema.events)).scalar_one())


@dataclass
class _Waiting:
    """An event of a thread that waits for its commit."""

    event: Event
    body: str
    seq: int = 0
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.seq or self.error)


class _Group:
    """Group commit: whoever comes first writes for all who came meanwhile, and a disk is waited for once."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: list[_Waiting] = []
        self._writing = False
        self._busy = False

    def append(self, store: Store, event: Event) -> int:
        mine = _Waiting(event, body_of(event))
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: mine.is_done or not self._writing)
            if not mine.is_done:
                self._writing = True
        if not mine.is_done:
            self._write_all(store)
        if mine.error is not None:
            raise mine.error
        return mine.seq

    def _write_all(self, store: Store) -> None:
        if self._busy:
            sleep(GATHER_SECONDS)
        with self._changed:
            batch, self._waiting = self._waiting, []
        try:
            self._write(store, batch)
        finally:
            with self._changed:
                self._busy, self._writing = len(batch) > 1, False
                self._changed.notify_all()

    def _write(self, store: Store, batch: list[_Waiting]) -> None:
        try:
            with store.write() as connection:
                last = _insert(store, connection, [(each.event, each.body) for each in batch])
        except BaseException as error:
            if len(batch) == 1 or not isinstance(error, StoreError):
                for each in batch:
                    each.error = error
                return
            for each in batch:  # one of them may be at fault, and only that one
                self._write(store, [each])
            return
        for number, each in enumerate(batch, last - len(batch) + 1):
            each.seq = number


_GROUPS: WeakKeyDictionary[Engine, _Group] = WeakKeyDictionary()
_GROUPS_LOCK = Lock()


def _group_of(store: Store) -> _Group:
    with _GROUPS_LOCK:
        return _GROUPS.setdefault(store.engine, _Group())


def _last(connection: Connection) -> tuple[int, str]:
    found = connection.exec_driver_sql("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").first()
    return (int(found[0]), str(found[1])) if found else (0, GENESIS)


def _insert(store: Store, connection: Connection, events: Sequence[tuple[Event, str]]) -> int:
    """The sequence number of the last one."""
    if not store.is_sqlite:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    seq, prev = _last(connection)
    rows = []
    for event, body in events:
        seq += 1
        made = link(seq, prev, body)
        rows.append((seq, event.event_id, event.run_id, event.task_id, body, prev, made))
        prev = made
    statement = f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({marks(store, len(_COLUMNS))})"
    connection.exec_driver_sql(statement, rows)
    return seq


Row = tuple[int, str, str, str, str, str, str]
"""seq, event_id, run_id, task_id, body, prev, hash."""


def rows(store: Store) -> Iterator[Row]:
    """Every row in its order, as the database has it; only a few at a time in memory.

    One statement sees what was there when it began, in both databases: rows that are written meanwhile do not come.
    """
    statement = f"SELECT {', '.join(_COLUMNS)} FROM events"
    with store.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        # A named cursor of psycopg stays on the server, which sends rows as they are asked for.
        cursor = driver.cursor() if store.is_sqlite else driver.cursor("ledger")
        try:
            if not store.is_sqlite:
                cursor.itersize = 10 * PAGE
            cursor.execute(f"{statement} ORDER BY seq")
            found: Iterable[Row] = cursor
            yield from found
        finally:
            cursor.close()
            connection.rollback()
