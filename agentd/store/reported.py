"""Spans that agents have sent themselves: only those on the list of their agent, and only so many a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from agentd.store import schema
from agentd.store.connection import Store

MOST_SPANS = 5_000
"""of one run"""


class Reported(NamedTuple):
    """One span, its fields in the order of the columns behind the run's id."""

    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float | bool]


def add(store: Store, run_id: str, spans: Iterable[Reported]) -> int:
    """Write spans; one that is there already stays as it is. How many were written at most."""
    table = schema.reported_spans
    made = sqlite.insert(table) if store.is_sqlite else postgresql.insert(table)
    with store.write() as connection:
        there = select(func.count()).select_from(table).where(table.c.run_id == run_id)
        room = MOST_SPANS - int(connection.execute(there).scalar_one())
        rows = [
            {**span._asdict(), "run_id": run_id, "attributes": json.dumps(dict(span.attributes), sort_keys=True)}
            for span in spans
        ][: max(0, room)]
        if rows:
            connection.execute(made.on_conflict_do_nothing(index_elements=[table.c.run_id, table.c.span_id]), rows)
        return len(rows)


def reported_of(store: Store, run_id: str) -> list[Reported]:
    """The spans of a run in the order of their beginning."""
    table = schema.reported_spans
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.start_ns, table.c.span_id)
    with store.read() as connection:
        return [
            Reported(row.span_id, row.parent_id, row.name, row.start_ns, row.end_ns, json.loads(row.attributes))
            for row in connection.execute(query)
        ]
