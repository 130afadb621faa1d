"""Kill -9 at every boundary of a run, restart, compare with a run that was not killed: every boundary, no sample."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.store.connection import open_store
from agentd.store.ledger import problems
from tests.e2e.conftest import FILES, REPO, Installation, environment
from tests.e2e.test_restart import agents

MOST_RESTARTS = 4
AGENT = """
import sys
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
open(f"{task}.txt", "w").write("work of " + task)
"""


class ForkServer:
    """`tests.faults.crashing` as a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def once(self, here: Installation, trace: Path, point: int = -1) -> int:
        """Exit status of `agentd once` that dies at the boundary `point` (0 counts and lives, -1 does not count)."""
        order = {"point": point, "trace": str(trace), "folder": str(here.folder), "environ": here.environ}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


def installation(hub: PracticeGitHub, folder: Path, agent: str, extra: str = "") -> Installation:
    folder.mkdir()
    made = Installation(hub, folder, environment(folder, hub, hub.add_token("agentd-bot")))
    made.agent(agent)
    made.configure(f"max_fix_rounds = 0\n{extra}", verify="ls issue-*.txt")
    return made


def end_state(here: Installation, number: int, remote: Path) -> dict[str, Any]:
    """What a stranger can see of a task in the end, without times and ids."""
    pulls = [pull for pull in here.pulls("all") if pull["head"]["ref"] == f"agent/issue-{number}"]
    files = {
        row["filename"].replace(str(number), "N"): row["status"]
        for pull in pulls
        for row in here.get(f"/pulls/{pull['number']}/files")
    }
    refs = git("for-each-ref", "--format=%(refname)", git_dir=remote).splitlines()
    with sqlite3.connect(f"file:{here.folder}/.agentd/state/agentd.db?mode=ro", uri=True) as store:
        states = [row[0] for row in store.execute("SELECT state FROM runs WHERE issue_number = ?", (number,))]
        claims = store.execute("SELECT count(*) FROM claims WHERE released = 0").fetchone()[0]
    mirror = here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"
    saved = git("for-each-ref", "--format=%(refname)", f"refs/agentd/salvage/issue-{number}", git_dir=mirror)
    return {
        "pulls": len(pulls),
        "commits": [len(here.get(f"/pulls/{pull['number']}/commits")) for pull in pulls],
        "files": files,
        "labels": sorted(here.labels(number)),
        "stickies": [body.split("\n")[1] for body in here.stickies(number)],
        "states": states,
        "claims": claims,
        "claim refs": [ref for ref in refs if ref.startswith("refs/agentd/")],
        "salvaged": len(saved.splitlines()),
        "processes": len(agents(here.folder)),
    }


SCENARIOS = {
    "pull request": (AGENT, {"states": ["in_review"], "pulls": 1}),
    "blocked": ("open('precious.txt', 'w').write('x')", {"states": ["verify_failed"], "pulls": 0, "salvaged": 1}),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_at_any_boundary_ends_like_no_crash(
    scenario: str, server: ForkServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, expected = SCENARIOS[scenario]
    trace = tmp_path / "trace"
    with PracticeGitHub(tmp_path / "github") as hub:
        for name in ("alice", "agentd-bot"):
            hub.add_user(name)
        hub.add_repo(REPO, files=FILES)
        hub.grant(REPO, "agentd-bot", "write")
        remote = tmp_path / "github" / "alice" / "widget.git"
        whole = installation(hub, tmp_path / "whole", agent)
        number = whole.issue()
        assert server.once(whole, trace, 0) in {0, 1}, (tmp_path / "trace.out").read_text()
        boundaries = trace.read_text().splitlines()
        wanted = end_state(whole, number, remote)
        assert wanted.items() >= expected.items()
        assert len(boundaries) > 40, boundaries
        wrong = {}
        for point, name in enumerate(boundaries, start=1):
            here = installation(hub, tmp_path / f"crash-{point}", agent)
            number = here.issue()
            status = server.once(here, tmp_path / "trace-again", point)
            assert status == -signal.SIGKILL, f"{name}: ended with {status} instead of being killed"
            for _ in range(MOST_RESTARTS):
                server.once(here, tmp_path / "trace-again")
                found = end_state(here, number, remote)
                if found == wanted:
                    break
            if found != wanted:
                wrong[f"{point} {name}"] = {key: found[key] for key in found if found[key] != wanted[key]}
            store = open_store("", here.folder / ".agentd" / "state", SystemClock(), create=False)
            assert list(problems(store)) == []
            store.close()
        with capsys.disabled():
            print(f"\n{scenario}: killed at {len(boundaries)} boundaries, {len(wrong)} ended otherwise")
        assert wrong == {}
