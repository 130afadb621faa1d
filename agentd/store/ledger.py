"""The append-only, hash-chained ledger of Events; events.jsonl is its projection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sqlalchemy import Connection, insert, select, text

from agentd.model import Event, canonical_json
from agentd.store import schema
from agentd.store.connection import Store

_ADVISORY_LOCK = 4712


def append(store: Store, event: Event) -> int:
    """Write one event; its sequence number."""
    with store.write() as connection:
        return append_in(store, connection, event)


def append_in(store: Store, connection: Connection, event: Event) -> int:
    """Write one event as part of a transaction, so that the event and what it tells of stand or fall together."""
    if not store.is_sqlite:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    last = connection.execute(
        select(schema.events.c.seq, schema.events.c.hash).order_by(schema.events.c.seq.desc()).limit(1)
    ).first()
    seq, prev = (last.seq + 1, last.hash) if last else (1, schema.GENESIS)
    body = canonical_json(event.model_dump(mode="json", exclude_none=True))
    connection.execute(
        insert(schema.events).values(
            seq=seq,
            event_id=event.event_id,
            run_id=event.run_id,
            task_id=event.task_id,
            body=body,
            prev=prev,
            hash=link(seq, prev, body),
        )
    )
    return seq


def link(seq: int, prev: str, body: str) -> str:
    """The chain: sha256 over the previous hash, the sequence number and the event's canonical JSON."""
    return hashlib.sha256(f"{prev}\n{seq}\n{body}".encode()).hexdigest()


def events_after(store: Store, seq: int, limit: int = 1000) -> list[tuple[int, str]]:
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
    query = select(schema.events.c.body).where(schema.events.c.run_id == run_id).order_by(schema.events.c.seq)
    with store.read() as connection:
        return [Event.model_validate(json.loads(row.body)) for row in connection.execute(query)]


def problems(store: Store) -> Iterator[str]:
    """Every place where the chain does not hold, named by sequence number; nothing when it verifies."""
    expected, prev = 1, schema.GENESIS
    with store.read() as connection:
        for row in connection.execute(select(schema.events).order_by(schema.events.c.seq)):
            if row.seq != expected:
                yield f"sequence {expected}: missing; the next is {row.seq}"
            if row.prev != prev or row.hash != link(row.seq, row.prev, row.body):
                yield f"sequence {row.seq}: changed, or moved from another place"
            expected, prev = row.seq + 1, row.hash
