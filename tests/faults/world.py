"""A small world that anything may happen to: two installations on one repository, people, a GitHub that falters.

Every act leaves the world in a state that `check` must find sound; after `settle` every task must have come to rest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import requests

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.states import ENDS, RunState
from agentd.store import runs
from agentd.store.connection import open_store
from agentd.store.verification import problems
from tests.e2e.conftest import FILES, REPO, Installation, environment
from tests.e2e.test_restart import agents
from tests.faults.forks import ForkServer

AGENT = """
import fcntl, os, sys, time
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
lock = open(os.path.join({folder!r}, task + ".lock"), "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open(os.path.join({folder!r}, "OVERLAP"), "a").write(task + "\\n")
time.sleep(0.05)
if "KIND-idle" in prompt:
    sys.exit(0)
if "KIND-fails" in prompt:
    sys.exit("no luck")
open(task + ".txt", "w").write("bad" if "KIND-wrong" in prompt else task)
"""
KINDS = ("good", "good", "good", "idle", "fails", "wrong")
HOUR = 3600.0
SETTLING_ROUNDS = 14
ORPHAN_SECONDS = 15.0
"""how long agents may outlive a killed installation, on a machine that is as busy as can be"""
RESTING = frozenset({"status:in-review", "status:blocked"})


@dataclass
class World:
    """The state of one play. `home` is an empty folder."""

    home: Path
    server: ForkServer
    hub: PracticeGitHub = field(init=False)
    sides: list[Installation] = field(init=False)
    ahead: dict[str, float] = field(default_factory=lambda: {"wall_ahead": 1.0, "boot_ahead": 0.0})
    troubles: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """what goes wrong with the requests of the next tick; people's own never do"""
    told: list[str] = field(default_factory=list)
    """every act so far, to read after a failure"""

    def open(self) -> None:
        self.hub = PracticeGitHub(self.home / "github")
        self.hub.__enter__()
        for name in ("alice", "agentd-bot"):
            self.hub.add_user(name)
        self.hub.add_repo(REPO, files=FILES)
        self.hub.grant(REPO, "agentd-bot", "write")
        self.sides = [self._side("one"), self._side("two")]

    def close(self) -> None:
        self.hub.__exit__(None, None, None)

    def _side(self, name: str) -> Installation:
        folder = self.home / name
        folder.mkdir()
        made = Installation(self.hub, folder, environment(folder, self.hub, self.hub.add_token("agentd-bot")))
        made.agent(AGENT.format(folder=str(self.home)))
        made.configure("max_fix_rounds = 0\nmax_parallel = 3\n", verify="! grep -rqx bad --include=issue-*.txt .")
        return made

    # What may happen.

    def issue(self, kind: str) -> None:
        """A person files and labels an issue."""
        number = self.sides[0].issue(f"Task {kind}", f"KIND-{kind}")
        self._tell(f"issue #{number} {kind}")

    def once(self, side: int, point: int = -1) -> None:
        """One installation does one tick and its runs, and is killed at the boundary `point`, if it gets there."""
        for method, trouble in self.troubles:
            self.hub.fault(method, "/repos/", times=2, **trouble)
        status = self.server.once(self.sides[side], self.home / f"trace-{side}", point, **self.ahead)
        self.hub.world.faults.clear()
        self.troubles.clear()
        self._tell(f"once {side} at {point}: {status}")
        if status == 99:
            raise AssertionError((self.home / f"trace-{side}.out").read_text())

    def label(self, choice: int, label: str) -> None:
        """A person replaces the status label of some open issue."""
        if number := self._some(choice):
            kept = [name for name in self.sides[0].labels(number) if not name.startswith("status:")]
            self.sides[0].act("PUT", f"/issues/{number}/labels", {"labels": [*kept, label]})
            self._tell(f"label #{number} {label}")

    def unready(self, choice: int) -> None:
        """A person takes an issue back."""
        if number := self._some(choice):
            try:
                self.sides[0].act("DELETE", f"/issues/{number}/labels/agent-ready")
            except requests.HTTPError:
                return
            self._tell(f"unready #{number}")

    def shut(self, choice: int) -> None:
        """A person closes an issue."""
        if number := self._some(choice):
            self.sides[0].act("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": "not_planned"})
            self._tell(f"close #{number}")

    def review(self, choice: int, good: bool) -> None:
        """A person merges or closes some open pull request."""
        if pulls := self.sides[0].pulls():
            number = pulls[choice % len(pulls)]["number"]
            if good:
                self.hub.merge(REPO, number)
            else:
                self.sides[0].act("PATCH", f"/pulls/{number}", {"state": "closed"})
            self._tell(f"{'merge' if good else 'close'} pull #{number}")

    def fault(self, method: str, fault: dict[str, Any]) -> None:
        """GitHub will falter."""
        self.troubles.append((method, fault))
        self._tell(f"fault {method} {fault}")

    def pause(self, side: int, on: bool) -> None:
        self.sides[side].run("pause" if on else "resume")
        self._tell(f"pause {side} {on}")

    def commit(self, number: int) -> None:
        """Somebody pushes to the base."""
        self.hub.commit(REPO, "main", {f"other-{number}.txt": str(len(self.told))})
        self._tell("commit")

    def sleep(self, seconds: float) -> None:
        """Time passes, on every clock."""
        self.ahead = {name: ahead + seconds for name, ahead in self.ahead.items()}
        self._tell(f"sleep {seconds}")

    def turn(self, seconds: float) -> None:
        """Somebody turns the clock at the wall."""
        self.ahead["wall_ahead"] += seconds
        self._tell(f"turn {seconds}")

    # What must hold.

    def check(self) -> None:
        """What must be so at any time."""
        assert not (self.home / "OVERLAP").exists(), self._story("two agents worked on one task at once")
        until = time.monotonic() + ORPHAN_SECONDS
        while left := [pid for side in self.sides for pid in agents(side.folder)]:
            # A killed installation's guardians see that they are orphans, one that was just about to start, too.
            assert time.monotonic() < until, self._story(f"processes of a run are left: {left}")
            time.sleep(0.05)
        pulls = [pull["head"]["ref"] for pull in self.sides[0].pulls()]
        assert len(pulls) == len(set(pulls)), self._story(f"two open pull requests for one task: {pulls}")
        for number in self._issues("all"):
            stickies = self.sides[0].stickies(number)
            assert len(stickies) <= 1, self._story(f"#{number} has {len(stickies)} comments")

    def settle(self) -> None:
        """Everything that was wrong ends, time passes, and each task must come to rest."""
        self.troubles.clear()
        for side in (0, 1):
            self.pause(side, on=False)
        for _ in range(SETTLING_ROUNDS):
            self.sleep(HOUR)
            for side in (0, 1):
                self.once(side)
            self.check()
            if not self._restless():
                break
        assert not self._restless(), self._story(f"not at rest: {self._restless()}")
        refs = git("for-each-ref", "--format=%(refname)", "refs/agentd", git_dir=self.hub.world.root / f"{REPO}.git")
        assert refs == "", self._story(f"left on the remote: {refs}")
        for side in self.sides:
            store = open_store("", side.folder / ".agentd" / "state", SystemClock(), create=False)
            assert list(problems(store)) == [], self._story("the ledger does not verify")
            active = [run.run_id for run in runs.latest_runs(store, 1000) if not _over(run.state)]
            store.close()
            assert active == [], self._story(f"runs that are not over: {active}")

    def _restless(self) -> list[str]:
        found = []
        for number in self._issues("open"):
            labels = self.sides[0].labels(number)
            status = {name for name in labels if name.startswith("status:")}
            if "agent-ready" in labels and not (len(status) == 1 and status <= RESTING):
                found.append(f"#{number} {sorted(status)}")
        return found

    def _issues(self, state: str) -> list[int]:
        rows = self.sides[0].get(f"/issues?state={state}&per_page=100")
        return [row["number"] for row in rows if "pull_request" not in row]

    def _some(self, choice: int) -> int | None:
        numbers = self._issues("open")
        return numbers[choice % len(numbers)] if numbers else None

    def _tell(self, act: str) -> None:
        self.told.append(act)

    def _story(self, what: str) -> str:
        return "\n".join([what, *self.told])


def _over(state: RunState) -> bool:
    return state in ENDS or state is RunState.in_review


FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 502, "after": True},
    {"drop": "before"},
    {"drop": "after"},
    {"status": 403, "headers": {"Retry-After": "1"}, "body": json.dumps({"message": "secondary rate limit"})},
)
METHODS = ("GET", "POST", "PUT|PATCH|DELETE")
LABELS = ("status:todo", "status:todo", "status:blocked", "status:in-progress", "status:in-review")
SECONDS = (20.0, 400.0, 2 * HOUR)
TURNS = (-HOUR, HOUR)


def any_act(world: World, random: Random) -> Callable[[], None]:
    """One act, chosen at random: mostly issues and ticks, now and then something else."""
    number, side = random.randrange(1000), random.randrange(2)
    acts: list[tuple[int, Callable[[], None]]] = [
        (5, partial(world.issue, random.choice(KINDS))),
        (8, partial(world.once, side)),
        (6, partial(world.once, side, random.randrange(1, 60))),
        (2, partial(world.label, number, random.choice(LABELS))),
        (1, partial(world.unready, number)),
        (1, partial(world.shut, number)),
        (3, partial(world.review, number, random.random() < 0.8)),
        (3, partial(world.fault, random.choice(METHODS), random.choice(FAULTS))),
        (1, partial(world.pause, side, random.random() < 0.5)),
        (1, partial(world.commit, number)),
        (3, partial(world.sleep, random.choice(SECONDS))),
        (1, partial(world.turn, random.choice(TURNS))),
    ]
    return random.choices([act for _, act in acts], [weight for weight, _ in acts])[0]


def main() -> None:
    """`scripts/soak`: plays of random acts until the time is over; each is told by its seed."""
    import argparse
    import tempfile

    options = argparse.ArgumentParser(prog="scripts/soak", description=main.__doc__)
    options.add_argument("--seed", type=int, default=1, help="of the first play; the next ones count up")
    options.add_argument("--minutes", type=float, default=10.0, help="no new play is begun afterwards")
    options.add_argument("--acts", type=int, default=30, help="in each play, before everything must come to rest")
    given = options.parse_args()
    server, until, seed = ForkServer(), time.monotonic() + given.minutes * 60, given.seed
    try:
        while seed == given.seed or time.monotonic() < until:
            with tempfile.TemporaryDirectory(prefix="agentd-soak-") as folder:
                acts = play(World(Path(folder), server), Random(seed), given.acts)
            print(f"seed {seed}: {acts} acts, at rest", flush=True)
            seed += 1
    except AssertionError as error:
        sys.exit(f"seed {seed}: {error}\nagain: scripts/soak --seed {seed} --minutes 0 --acts {given.acts}")
    finally:
        server.close()


def play(world: World, random: Random, acts: int) -> int:
    """So many random acts, then rest; how many acts there were in all. Raises AssertionError with the story.

    What finds nothing to act on (no pull request is open) does not count, and another act is chosen.
    """
    world.open()
    try:
        while len(world.told) < acts:
            any_act(world, random)()
            world.check()
        world.settle()
        return len(world.told)
    finally:
        world.close()


if __name__ == "__main__":
    main()
