"""Reading from the store what a trace is made of."""

from __future__ import annotations

from datetime import datetime

from agentd.model import Event, Run, Step, Task
from agentd.policy.failures import REVIEWED, review_fields
from agentd.states import ACTIVE, ENDS, RunState
from agentd.store import runs, spending, steps
from agentd.store.connection import Store
from agentd.store.ledger import numbered_events_of
from agentd.store.reported import reported_of
from agentd.trace.span import RunRecord


def record_of(store: Store, run_id: str, repo: str) -> RunRecord:
    """What the store knows of a run as of the end of its workflow, whenever it is asked.

    What people do with its pull request later is not of it: evidence is made once. Raises LookupError for a run that
    the store does not have.
    """
    run = runs.get_run(store, run_id)
    if run is None:
        raise LookupError(run_id)
    ends = [change for change in runs.transitions_of(store, run_id) if RunState(change["after"]) not in ACTIVE]
    found = steps.steps_of(store, run_id)
    events = numbered_events_of(store, run_id)
    if _is_handed_over(ends, found):
        run, events = _as_handed_over(run, ends), _without_review(events)
    ended = [step.ended_at for step in found if step.ended_at is not None]
    return RunRecord(
        run,
        Task.model_validate(runs.order_of(store, run_id)["task"]),
        repo,
        max([datetime.fromisoformat(ends[0]["at"]) if ends else run.updated_at, *ended]),
        tuple(found),
        tuple(spending.calls_of(store, run_id)),
        tuple(events),
        tuple(reported_of(store, run_id)),
    )


def _is_handed_over(ends: list[dict[str, str]], found: list[Step]) -> bool:
    """Whether the workflow's last word was a pull request: one that is cancelled while it hands over still finishes."""
    finished = any(step.kind == "stage" and step.name == "finish" for step in found)
    return bool(ends) and ends[0]["after"] == RunState.in_review and not finished


def _as_handed_over(run: Run, ends: list[dict[str, str]]) -> Run:
    """The run as its workflow left it. A row that is not what its transitions say stays, so that a check finds that."""
    state = RunState(ends[-1]["after"])
    told = ""
    for change in ends:
        told = change["reason"] or ("" if change["before"] in ENDS else told)
    row = {"state": run.state, "reason": run.reason, "terminal_reason": run.terminal_reason}
    if state not in REVIEWED or row != {"state": state, "reason": told, **review_fields(state)}:
        return run
    then = {"state": RunState.in_review, "reason": ends[0]["reason"], **review_fields(RunState.in_review)}
    return run.model_copy(update=then)


def _without_review(events: list[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """Without what the reconciler wrote behind the pull request; by sequence, because clocks are set back."""
    opened = max((seq for seq, event in events if event.event_type == "pr_opened"), default=None)
    if opened is None:
        return events
    return [(seq, event) for seq, event in events if seq < opened or event.source != "reconciler"]
