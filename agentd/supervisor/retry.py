"""Retry: an operator's order to try a task again, from the beginning or from a later stage of its last run."""

from __future__ import annotations

from agentd.clock import Clock, new_id
from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.model import Run
from agentd.run.context import Order
from agentd.states import ENDS, RunState
from agentd.store import attempts, holds, runs
from agentd.store.connection import Store

STAGES = {"verify": RunState.verifying, "publish": RunState.publishing}
"""Stage that a retry may begin at, and the state that shows that the last run got there."""


def retry(store: Store, settings: Settings, clock: Clock, run_id: str, stage: str = "") -> Run:
    """A new run of the same order, queued and charged like every start. Raises ConfigurationError."""
    before = runs.get_run(store, run_id)
    if before is None:
        raise ConfigurationError(f"{run_id}: no such run; `agentd runs list` shows them")
    _require_possible(store, before, stage)
    order = Order.model_validate(runs.order_of(store, run_id))
    order = order.model_copy(update={"after": run_id if stage else "", "stage": stage})
    now, new = clock.now(), new_id(clock, f"{before.task_id.lower()}-")
    attempts.clear(store, before.task_id)
    with store.write() as connection:
        busy = runs.active_tasks(store, connection)
        if before.task_id in busy:
            raise ConfigurationError(f"{before.task_id}: has a run that is not over; `agentd runs list` shows it")
        if len(busy) >= settings.max_parallel:
            raise ConfigurationError(f"max_parallel = {settings.max_parallel}: no slot is free; try again later")
        run = before.model_copy(
            update={
                "run_id": new,
                "attempt": attempts.charge(store, connection, before.task_id, new),
                "state": RunState.queued,
                "log_path": str(settings.log_dir / "workers" / f"{new}.log"),
                "started_at": now,
                "updated_at": now,
                **dict.fromkeys(("reason", "label", "cancel_reason", "executor", "base_sha", "head_sha"), ""),
                **dict.fromkeys(("finished_at", "merged_at"), None),
                "generation": 0,
            }
        )
        runs.add_run(store, connection, run, order.model_dump(mode="json"))
    holds.lift(store, before.task_id)
    return run


def resumable(store: Store) -> set[str]:
    """Runs that one may still begin behind: the newest of each task, unless it was merged, and whom a run follows."""
    newest = {last.run_id for last in runs.last_by_task(store).values() if last.state is not RunState.merged}
    return newest | {runs.order_of(store, run.run_id).get("after", "") for run in runs.unfinished_runs(store, ())}


def _require_possible(store: Store, run: Run, stage: str) -> None:
    if run.state not in ENDS - {RunState.merged}:
        raise ConfigurationError(f"{run.run_id}: is {run.state}; only a run that ended without success is tried again")
    newest = runs.latest_by_task(store)[run.task_id]
    if newest.run_id != run.run_id:
        raise ConfigurationError(f"{run.run_id}: is not the newest run of {run.task_id}; that is {newest.run_id}")
    if stage and stage not in STAGES:
        raise ConfigurationError(f"--from {stage}: no such stage; there are {', '.join(STAGES)}")
    reached = {change["after"] for change in runs.transitions_of(store, run.run_id)}
    if stage and STAGES[stage] not in reached:
        raise ConfigurationError(f"--from {stage}: {run.run_id} never got there; without --from it begins anew")
