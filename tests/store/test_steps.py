"""Steps of runs: written again they stay one row with their first times, and a run has room for so many only."""

from __future__ import annotations

from datetime import timedelta

from agentd.model import Step, StepKind, fingerprint_of, root_step_id, stage_step_id, step_id_of
from agentd.store import steps
from agentd.store.connection import Store
from tests.conftest import TurnedClock


def a_step(clock: TurnedClock, name: str, parent: str = "", kind: StepKind = "tool_call", **more: object) -> Step:
    parent = parent or stage_step_id("r", "agent-0")
    made = {"step_id": step_id_of("r", parent, kind, name), "run_id": "r", "parent_id": parent, "kind": kind}
    return Step.model_validate({**made, "name": name, "started_at": clock.now(), **more})


def test_ids_depend_on_where_a_step_is_and_on_nothing_else() -> None:
    root = root_step_id("r")
    assert root == root_step_id("r") and len(root) == 16 and int(root, 16)
    ids = {
        root,
        root_step_id("s"),
        stage_step_id("r", "push"),
        stage_step_id("s", "push"),
        step_id_of("r", root, "tool_call", "push"),
        step_id_of("r", root, "stage", "push", 2),
    }
    assert len(ids) == 6
    assert fingerprint_of("\ud83d") != fingerprint_of("\ud83e")  # half a character is a value like any other


def test_the_same_step_again_brings_its_row_up_to_date_and_keeps_its_times(store: Store, clock: TurnedClock) -> None:
    begun = a_step(clock, "Bash")
    steps.record(store, [begun])
    first = clock.now()
    clock.pass_seconds(1)
    steps.record(store, [begun.model_copy(update={"state": "ok", "ended_at": clock.now()})])
    ended = clock.now()
    clock.pass_seconds(100)
    later = {"started_at": clock.now(), "ended_at": clock.now(), "state": "ok", "summary": "x" * 9000}
    steps.record(store, [begun.model_copy(update=later)])
    [found] = steps.steps_of(store, "r")
    assert (found.started_at, found.ended_at, found.state) == (first, ended, "ok")
    assert len(found.summary) == steps.SUMMARY_CHARACTERS


def test_steps_come_in_their_order_and_parents_before_children(store: Store, clock: TurnedClock) -> None:
    stage = a_step(clock, "agent-0", root_step_id("r"), "stage")
    turn = a_step(clock, "p@1", stage.step_id, "agent_turn")
    call = a_step(clock, "Bash", turn.step_id)
    earlier = a_step(clock, "announce", root_step_id("r"), "stage", started_at=clock.now() - timedelta(seconds=5))
    steps.record(store, [call, turn, stage, earlier])
    assert [step.name for step in steps.steps_of(store, "r")] == ["announce", "agent-0", "p@1", "Bash"]
    assert steps.count(store, "r", "tool_call", turn.step_id) == 1
    steps.forget(store, "r")
    assert steps.steps_of(store, "r") == []


def test_no_run_fills_the_store(store: Store, clock: TurnedClock) -> None:
    many = [a_step(clock, f"tool-{number}") for number in range(steps.MOST_STEPS - 1)]
    steps.record(store, many)
    steps.record(store, [many[0].model_copy(update={"state": "ok"}), *(a_step(clock, name) for name in "abc")])
    found = steps.steps_of(store, "r")
    assert len(found) == steps.MOST_STEPS
    assert {step.name for step in found if step.state == "ok" or len(step.name) == 1} == {"tool-0", "a"}
