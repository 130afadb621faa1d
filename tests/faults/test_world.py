"""Anything may happen in any order: two installations, people, faults, crashes and clocks, chosen by Hypothesis."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.forks import ForkServer
from tests.faults.world import FAULTS, KINDS, LABELS, METHODS, SECONDS, TURNS, World, play

SIDES = st.integers(0, 1)
CHOICES = st.integers(0, 9)


class Anything(RuleBasedStateMachine):
    """The acts of the world as rules; in the end everything must come to rest."""

    server: ForkServer

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="agentd-world-")
        self.world = World(Path(self.folder.name), self.server)
        self.world.open()
        self.world.issue("good")

    @rule(kind=st.sampled_from(KINDS))
    def issue(self, kind: str) -> None:
        self.world.issue(kind)

    @rule(side=SIDES)
    def once(self, side: int) -> None:
        self.world.once(side)

    @rule(side=SIDES, point=st.integers(1, 60))
    def crash(self, side: int, point: int) -> None:
        self.world.once(side, point)

    @rule(choice=CHOICES, label=st.sampled_from(LABELS))
    def label(self, choice: int, label: str) -> None:
        self.world.label(choice, label)

    @rule(choice=CHOICES)
    def unready(self, choice: int) -> None:
        self.world.unready(choice)

    @rule(choice=CHOICES)
    def shut(self, choice: int) -> None:
        self.world.shut(choice)

    @rule(choice=CHOICES, good=st.booleans())
    def review(self, choice: int, good: bool) -> None:
        self.world.review(choice, good)

    @rule(method=st.sampled_from(METHODS), fault=st.sampled_from(FAULTS))
    def fault(self, method: str, fault: dict[str, Any]) -> None:
        self.world.fault(method, fault)

    @rule(side=SIDES, on=st.booleans())
    def pause(self, side: int, on: bool) -> None:
        self.world.pause(side, on)

    @rule(number=CHOICES)
    def commit(self, number: int) -> None:
        self.world.commit(number)

    @rule(seconds=st.sampled_from(SECONDS))
    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule(seconds=st.sampled_from(TURNS))
    def turn(self, seconds: float) -> None:
        self.world.turn(seconds)

    @invariant()
    def sound(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.settle()
        finally:
            self.world.close()
            self.folder.cleanup()


@pytest.fixture(scope="module")
def server() -> Any:
    made = ForkServer()
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_whatever_happens_every_task_comes_to_rest(server: ForkServer) -> None:
    Anything.server = server
    run_state_machine_as_test(
        Anything,
        settings=settings(
            max_examples=5,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [3, 11])
def test_a_play_of_random_acts(server: ForkServer, tmp_path: Path, seed: int) -> None:
    play(World(tmp_path, server), Random(seed), acts=20)  # raises with the story
