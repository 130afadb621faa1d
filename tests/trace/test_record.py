"""A run's record is that of its workflow: what comes behind its end is not of it, and what came before stays."""

from __future__ import annotations

import pytest

from agentd.model import Decision, Event, Step, root_step_id, stage_step_id
from agentd.states import RunState
from agentd.store import ledger, runs, steps
from agentd.store.connection import Store
from agentd.trace.record import record_of
from tests.conftest import TurnedClock
from tests.run.test_recording import TASK
from tests.store.test_store import a_run
from tests.traces import a_verdict

RUN = "p0-01-1-aaaaaa"


def told(store: Store, event_type: str, source: str, rule: str = "") -> None:
    _, verdict = a_verdict(0, rule, Decision.block, 0)
    number = len(ledger.events_after(store, 0))
    values = {"event_type": event_type, "source": source, "run_id": RUN, "event_id": f"evt_{number}"}
    about = values | {"timestamp": store.clock.now()}
    ledger.append(store, Event.model_validate(verdict.model_dump() | about))


def moved(store: Store, *states: RunState, reason: str = "") -> None:
    for state in states:
        runs.change_state(store, RUN, state, reason=reason, terminal_reason="final_answer")


@pytest.fixture
def opened(store: Store) -> Store:
    """A store with a run that has opened its pull request."""
    a_run(store, RUN, order={"task": TASK.model_dump(mode="json"), "profile": {}})
    told(store, "policy_decided", "reconciler", "no_taker")
    moved(store, RunState.preparing, RunState.syncing, RunState.verifying, RunState.publishing)
    told(store, "pr_opened", "worker")
    return store


def rules(store: Store) -> list[str]:
    return [e.data["rule_id"] for _, e in record_of(store, RUN, "a/b").events if e.event_type == "policy_decided"]


def test_what_the_reconciler_says_of_the_review_is_left_out_by_its_order_and_not_by_the_clock(
    opened: Store, clock: TurnedClock
) -> None:
    moved(opened, RunState.in_review)
    told(opened, "policy_decided", "worker", "github_unavailable")
    clock.pass_seconds(-3600)
    told(opened, "policy_decided", "reconciler", "pull_closed")
    assert rules(opened) == ["no_taker", "github_unavailable"]


def test_a_run_that_never_got_to_its_review_has_all_its_events(opened: Store) -> None:
    told(opened, "policy_decided", "reconciler", "inner_error")
    moved(opened, RunState.failed)
    assert rules(opened) == ["no_taker", "inner_error"]
    assert record_of(opened, RUN, "a/b").run.state is RunState.failed


def test_a_run_that_is_cancelled_while_it_hands_over_ended_so(opened: Store) -> None:
    moved(opened, RunState.in_review)
    ids = {"step_id": stage_step_id(RUN, "finish"), "parent_id": root_step_id(RUN), "run_id": RUN}
    stage = {"kind": "stage", "name": "finish", "state": "ok", "started_at": opened.clock.now()}
    steps.record(opened, [Step.model_validate({**ids, **stage})])
    moved(opened, RunState.cancelled, reason="cancelled by the operator")
    run = record_of(opened, RUN, "a/b").run
    assert (run.state, run.reason) == (RunState.cancelled, "cancelled by the operator")
