"""Reading from the store what a trace is made of."""

from __future__ import annotations

from datetime import datetime

from agentd.model import Task
from agentd.states import ACTIVE, RunState
from agentd.store import runs, spending, steps
from agentd.store.connection import Store
from agentd.store.ledger import numbered_events_of
from agentd.store.reported import reported_of
from agentd.trace.span import RunRecord


def record_of(store: Store, run_id: str, repo: str) -> RunRecord:
    """What the store knows of a run. Raises LookupError for one that it does not have."""
    run = runs.get_run(store, run_id)
    if run is None:
        raise LookupError(run_id)
    found = steps.steps_of(store, run_id)
    ended = [step.ended_at for step in found if step.ended_at is not None]
    return RunRecord(
        run,
        Task.model_validate(runs.order_of(store, run_id)["task"]),
        repo,
        max([_ended_at(store, run_id) or run.updated_at, *ended]),
        tuple(found),
        tuple(spending.calls_of(store, run_id)),
        tuple(numbered_events_of(store, run_id)),
        tuple(reported_of(store, run_id)),
    )


def _ended_at(store: Store, run_id: str) -> datetime | None:
    """When its workflow was through: what people do with its pull request later is not of its trace."""
    for change in runs.transitions_of(store, run_id):
        if RunState(change["after"]) not in ACTIVE:
            return datetime.fromisoformat(change["at"])
    return None
