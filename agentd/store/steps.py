"""Steps of runs: what they did, one row each. Written in batches; the same Step told again stays one row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Insert, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from agentd.model import Step, StepKind
from agentd.store import schema
from agentd.store.connection import Store

MOST_STEPS = 10_000
"""of one run; further ones are not kept, so that no agent can fill the store"""
SUMMARY_CHARACTERS = 500


def record(store: Store, steps: Iterable[Step]) -> None:
    """Write steps. One that is there already is brought up to date, and keeps the times that it has."""
    rows = {(step.run_id, step.step_id): _row(step) for step in steps}
    if not rows:
        return
    table = schema.steps
    with store.write() as connection:
        for run_id in dict.fromkeys(run for run, _ in rows):
            known = select(func.count()).select_from(table).where(table.c.run_id == run_id)
            room = MOST_STEPS - int(connection.execute(known).scalar_one())
            mine = [row for (run, _), row in rows.items() if run == run_id]
            if room < len(mine):
                there = set(connection.execute(select(table.c.step_id).where(table.c.run_id == run_id)).scalars())
                new = [row for row in mine if row["step_id"] not in there][: max(0, room)]
                mine = [row for row in mine if row["step_id"] in there] + new
            if mine:
                connection.execute(_upsert(store), mine)


def steps_of(store: Store, run_id: str) -> list[Step]:
    """The steps of a run in the order of their beginning, each behind its parent."""
    table = schema.steps
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.started_at, table.c.step_id)
    with store.read() as connection:
        found = [Step.model_validate(dict(row)) for row in connection.execute(query).mappings()]
    depth: dict[str, int] = {}
    parents = {step.step_id: step.parent_id for step in found}
    for step in found:
        above, depth[step.step_id] = step.parent_id, 0
        while above in parents and depth[step.step_id] < len(parents):
            above, depth[step.step_id] = parents[above], depth[step.step_id] + 1
    return sorted(found, key=lambda step: (step.started_at, depth[step.step_id]))


def latest(store: Store, run_id: str) -> Step | None:
    """What the run began last."""
    table = schema.steps
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.started_at.desc()).limit(1)
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    return Step.model_validate(dict(row)) if row is not None else None


def count(store: Store, run_id: str, kind: StepKind, parent_id: str) -> int:
    """How many steps of a kind there are under a parent."""
    table = schema.steps
    mine = (table.c.run_id == run_id) & (table.c.kind == kind) & (table.c.parent_id == parent_id)
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table).where(mine)).scalar_one())


def forget(store: Store, run_id: str) -> None:
    """Remove the steps of a run whose files go too, and what its agent has said of them."""
    with store.write() as connection:
        for table in (schema.steps, schema.reported_spans):
            connection.execute(delete(table).where(table.c.run_id == run_id))


def _upsert(store: Store) -> Insert:
    """Both databases write it alike. The earlier times stay: a replay reads old output at a later time."""
    table = schema.steps
    made = sqlite.insert(table) if store.is_sqlite else postgresql.insert(table)
    new = made.excluded
    sets: dict[str, Any] = {column.name: new[column.name] for column in table.c if not column.primary_key}
    sets["started_at"] = case((table.c.started_at < new.started_at, table.c.started_at), else_=new.started_at)
    sets["ended_at"] = func.coalesce(table.c.ended_at, new.ended_at)
    return made.on_conflict_do_update(index_elements=[table.c.run_id, table.c.step_id], set_=sets)


def _row(step: Step) -> dict[str, Any]:
    values = step.model_dump()
    values["summary"] = step.summary[:SUMMARY_CHARACTERS]
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
