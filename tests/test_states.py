"""The transition table: declared changes happen, undeclared ones raise, every state can reach an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.errors import UndeclaredTransition
from agentd.states import ACTIVE, ENDS, RUNS_JSON_STATUS, STATUS_LABEL, TRANSITIONS, RunState, transition

STATES = st.sampled_from(list(RunState))


@given(STATES, STATES)
def test_a_change_happens_exactly_when_the_table_has_it(before: RunState, after: RunState) -> None:
    if after in TRANSITIONS[before]:
        assert transition(before, after) is after
    else:
        with pytest.raises(UndeclaredTransition, match=f"{before} to {after}"):
            transition(before, after)


@pytest.mark.parametrize("start", list(RunState))
def test_every_state_is_an_end_or_can_reach_one(start: RunState) -> None:
    seen, waiting = {start}, [start]
    while waiting:
        for following in TRANSITIONS[waiting.pop()] - seen:
            seen.add(following)
            waiting.append(following)
    assert seen & ENDS


@given(st.lists(STATES, max_size=30))
def test_no_walk_leaves_an_end_except_a_reopened_pull_request(walk: list[RunState]) -> None:
    state = RunState.queued
    for wanted in walk:
        if wanted in TRANSITIONS[state]:
            assert state not in ENDS or state is RunState.closed_unmerged
            state = transition(state, wanted)


def test_the_tables_know_every_state() -> None:
    assert set(TRANSITIONS) == set(STATUS_LABEL) == set(RUNS_JSON_STATUS) == set(RunState)
    assert not ACTIVE & ENDS
    assert {state for state in RunState if state not in ACTIVE | ENDS} == {RunState.in_review}
