"""Runs and their states. The only code that writes a run's state, and it asks the transition table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, select, text, update

from agentd.errors import ClaimLost
from agentd.model import Run
from agentd.states import ACTIVE, ENDS, RunState, transition
from agentd.store import schema
from agentd.store.connection import Store

_ADMISSION_LOCK = 4713
Fence = Callable[[Connection], None]
"""Raises ClaimLost within the transaction of a write, when the writer may not write any more."""


def add_run(store: Store, connection: Connection, run: Run, order: dict[str, Any]) -> None:
    """A new run in state queued, with what it was asked to do."""
    connection.execute(insert(schema.runs).values(**_row(run)))
    connection.execute(insert(schema.orders).values(run_id=run.run_id, body=json.dumps(order)))
    _record(store, connection, run.run_id, "", run.state, "admitted")


def order_of(store: Store, run_id: str) -> dict[str, Any]:
    """What the run was asked to do, as it was written at dispatch."""
    with store.read() as connection:
        body = connection.execute(select(schema.orders.c.body).where(schema.orders.c.run_id == run_id)).scalar_one()
    found: dict[str, Any] = json.loads(body)
    return found


def change_state(
    store: Store, run_id: str, new: RunState, *, reason: str = "", fence: Fence | None = None, **fields: Any
) -> Run:
    """Move a run on, recording the change. Raises UndeclaredTransition when the table does not have it.

    Asking for the state that the run is in already only updates `fields`: a replayed step must not fail. What an end
    said goes when the run leaves it, as one does whose pull request is opened again.
    """
    now = store.clock.now()
    with store.write() as connection:
        if fence is not None:
            fence(connection)
        query = select(schema.runs).where(schema.runs.c.run_id == run_id).with_for_update()
        row = connection.execute(query).mappings().one()
        current = RunState(row["state"])
        if new != current:
            transition(current, new)
            _record(store, connection, run_id, current, new, reason)
        values: dict[str, Any] = {**fields, "state": new, "updated_at": now}
        goes_on = current in ENDS and new != current
        if reason or goes_on:
            values["reason"] = reason
        if new in ENDS and (goes_on or row["finished_at"] is None):
            values["finished_at"] = now
        elif goes_on:
            values["finished_at"] = None
        connection.execute(update(schema.runs).where(schema.runs.c.run_id == run_id).values(**_texts(values)))
        row = connection.execute(select(schema.runs).where(schema.runs.c.run_id == run_id)).mappings().one()
    return _run(row)


def update_run(store: Store, run_id: str, *, fence: Fence | None = None, **fields: Any) -> None:
    """Set fields other than the state."""
    with store.write() as connection:
        if fence is not None:
            fence(connection)
        connection.execute(
            update(schema.runs)
            .where(schema.runs.c.run_id == run_id)
            .values(**_texts({**fields, "updated_at": store.clock.now()}))
        )


def reassign(store: Store, run_id: str, before: str, after: str) -> bool:
    """Give a run from one executor to another (empty: nobody), if the first still has it; True when done."""
    table = schema.runs
    mine = (table.c.run_id == run_id) & (table.c.executor == before)
    with store.write() as connection:
        done = connection.execute(update(table).where(mine).values(executor=after))
        return done.rowcount > 0


def begin(store: Store, run_id: str, executor: str, generation: int) -> bool:
    """Note under which generation of the claim the executor carries the run; False when it is not its run any more."""
    table = schema.runs
    with store.write() as connection:
        mine = (table.c.run_id == run_id) & (table.c.executor == executor)
        return connection.execute(update(table).where(mine).values(generation=generation)).rowcount > 0


def require_executor(connection: Connection, run_id: str, executor: str) -> None:
    """Raises ClaimLost unless the run is the executor's; for a run that has no claim yet."""
    query = select(schema.runs.c.executor).where(schema.runs.c.run_id == run_id).with_for_update()
    found = connection.execute(query).scalar()
    if found != executor:
        raise ClaimLost(f"{run_id}: is carried by {found or 'nobody'} now")


def get_run(store: Store, run_id: str) -> Run | None:
    with store.read() as connection:
        row = connection.execute(select(schema.runs).where(schema.runs.c.run_id == run_id)).mappings().first()
    return _run(row) if row else None


def active_runs(store: Store) -> list[Run]:
    """Runs that hold a slot, oldest first."""
    return _runs(store, schema.runs.c.state.in_(ACTIVE))


def wanted_ends(store: Store) -> dict[str, str]:
    """Each run that holds a slot, by its id, and why somebody wants it to end: empty while nobody does."""
    query = select(schema.runs.c.run_id, schema.runs.c.cancel_reason).where(schema.runs.c.state.in_(ACTIVE))
    with store.read() as connection:
        return {run_id: reason or "" for run_id, reason in connection.execute(query)}


def unfinished_runs(store: Store, run_ids: Iterable[str]) -> list[Run]:
    """Runs that hold a slot, and those of `run_ids`, which have an end but not said their last words; oldest first."""
    return _runs(store, schema.runs.c.state.in_(ACTIVE) | schema.runs.c.run_id.in_(list(run_ids)))


def active_tasks(store: Store, connection: Connection) -> set[str]:
    """Tasks that have a run in a slot; nobody else admits a run until the transaction ends."""
    if not store.is_sqlite:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADMISSION_LOCK})"))
    query = select(schema.runs.c.task_id).where(schema.runs.c.state.in_(ACTIVE))
    return {row.task_id for row in connection.execute(query)}


def runs_in(store: Store, *states: RunState) -> list[Run]:
    return _runs(store, schema.runs.c.state.in_(states))


def runs_of(store: Store, task_id: str) -> list[Run]:
    return _runs(store, schema.runs.c.task_id == task_id)


def latest_runs(store: Store, limit: int = 20) -> list[Run]:
    """Newest first."""
    query = select(schema.runs).order_by(schema.runs.c.started_at.desc()).limit(limit)
    with store.read() as connection:
        return [_run(row) for row in connection.execute(query).mappings()]


def latest_by_task(store: Store) -> dict[str, Run]:
    """Each task's newest run."""
    newest = select(func.max(schema.runs.c.attempt), schema.runs.c.task_id).group_by(schema.runs.c.task_id).subquery()
    query = select(schema.runs).join(
        newest, (schema.runs.c.task_id == newest.c.task_id) & (schema.runs.c.attempt == newest.c[0])
    )
    with store.read() as connection:
        return {row["task_id"]: _run(row) for row in connection.execute(query).mappings()}


class Last(NamedTuple):
    """What most need to know of a task's newest run; ten thousand of them are read in a moment."""

    task_id: str
    run_id: str
    issue_number: int
    state: RunState
    reason: str
    branch: str
    head_sha: str
    pr_number: int | None


def last_by_task(store: Store) -> dict[str, Last]:
    """Each task's newest run, in short."""
    table = schema.runs
    newest = select(func.max(table.c.attempt), table.c.task_id).group_by(table.c.task_id).subquery()
    mine = (table.c.task_id == newest.c.task_id) & (table.c.attempt == newest.c[0])
    query = select(*(table.c[name] for name in Last._fields)).join(newest, mine)
    with store.read() as connection:
        found = (Last(*row) for row in connection.execute(query))
        return {last.task_id: last._replace(state=RunState(last.state)) for last in found}


def count_by_state(store: Store) -> dict[str, int]:
    with store.read() as connection:
        rows = connection.execute(select(schema.runs.c.state, func.count()).group_by(schema.runs.c.state))
        return {row[0]: row[1] for row in rows}


def transitions_of(store: Store, run_id: str) -> list[dict[str, str]]:
    """Oldest first: before, after, reason, at."""
    query = select(schema.transitions).where(schema.transitions.c.run_id == run_id).order_by(schema.transitions.c.id)
    with store.read() as connection:
        return [
            {key: str(row[key]) for key in ("before", "after", "reason", "at")}
            for row in connection.execute(query).mappings()
        ]


def _runs(store: Store, where: Any) -> list[Run]:
    query = select(schema.runs).where(where).order_by(schema.runs.c.started_at, schema.runs.c.run_id)
    with store.read() as connection:
        return [_run(row) for row in connection.execute(query).mappings()]


def _record(store: Store, connection: Connection, run_id: str, before: str, after: str, reason: str) -> None:
    connection.execute(
        insert(schema.transitions).values(
            run_id=run_id, before=str(before), after=str(after), reason=reason, at=store.clock.now().isoformat()
        )
    )


def _run(row: RowMapping) -> Run:
    return Run.model_validate(dict(row))


def _row(run: Run) -> dict[str, Any]:
    return _texts(run.model_dump())


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, RunState) else value
        for key, value in values.items()
    }
