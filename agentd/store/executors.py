"""Executors: the processes that carry runs, with their heartbeats, on the same lease clock as claims."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from agentd.store import schema
from agentd.store.connection import Store


@dataclass(frozen=True)
class Executor:
    """One process that carries runs."""

    executor: str
    """`<place>:<pid>:<birth>`: this incarnation"""
    place: str
    """`<host>/<8 hex digits>`: one state directory on one host, where at most one executor lives"""
    version: str
    """agentd's version"""
    contract: str
    """version of the run workflow that it can go on with"""
    capacity: int
    """runs at the same time"""
    agents: tuple[str, ...] = ()
    """programs of agents that were found there"""
    leads: bool = False
    """whether it is, or may become, the supervisor that decides"""
    closed: str = ""
    """why it takes no further run now; empty when it does"""
    drain: bool = False
    """an operator wants it to take nothing more"""
    seconds_left: float = 0.0
    """until its heartbeat is overdue; 0 when it is"""


def beat(store: Store, executor: Executor, lease_seconds: float) -> Executor:
    """Say that the executor lives; what it is now, an operator's drain included."""
    values = {
        "place": executor.place,
        "version": executor.version,
        "contract": executor.contract,
        "capacity": executor.capacity,
        "agents": json.dumps(executor.agents),
        "leads": int(executor.leads),
        "closed": executor.closed,
        "boot_id": store.lease_boot(),
    }
    table = schema.executors
    with store.write() as connection:
        values["deadline"] = store.lease_now(connection) + lease_seconds
        here = table.c.executor == executor.executor
        if not connection.execute(update(table).where(here).values(**values)).rowcount:
            connection.execute(delete(table).where(table.c.place == executor.place))
            since = store.clock.now().isoformat()
            connection.execute(insert(table).values(executor=executor.executor, since=since, **values))
    return next(found for found in all_executors(store) if found.executor == executor.executor)


def all_executors(store: Store) -> list[Executor]:
    """Every executor that has not said goodbye, by place; one whose heartbeat is overdue has 0 seconds left."""
    with store.read() as connection:
        now, boot = store.lease_now(connection), store.lease_boot()
        rows = connection.execute(select(schema.executors).order_by(schema.executors.c.place)).mappings()
        return [
            Executor(
                executor=row["executor"],
                place=row["place"],
                version=row["version"],
                contract=row["contract"],
                capacity=row["capacity"],
                agents=tuple(json.loads(row["agents"])),
                leads=bool(row["leads"]),
                closed=row["closed"],
                drain=bool(row["drain"]),
                seconds_left=max(0.0, row["deadline"] - now) if row["boot_id"] == boot else 0.0,
            )
            for row in rows
        ]


def overdue(store: Store, executor: str, seconds: float) -> bool:
    """True when the executor's heartbeat has been overdue for so long, or when nothing is known of it."""
    query = select(schema.executors).where(schema.executors.c.executor == executor)
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
        if row is None or row["boot_id"] != store.lease_boot():
            return True
        return store.lease_now(connection) - float(row["deadline"]) > seconds


def set_drain(store: Store, place: str, drain: bool) -> bool:
    """Ask the executor of a place to take nothing more, or to go on; False when there is none."""
    with store.write() as connection:
        where = schema.executors.c.place == place
        return connection.execute(update(schema.executors).where(where).values(drain=int(drain))).rowcount > 0


def leave(store: Store, executor: str) -> None:
    """Say goodbye: the executor carries no run any more."""
    with store.write() as connection:
        connection.execute(delete(schema.executors).where(schema.executors.c.executor == executor))
