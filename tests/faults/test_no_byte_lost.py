"""Kill -9 before every command that writes: whatever the agent wrote is in an object that a ref reaches, or on disk."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation, environment
from tests.faults.forks import ForkServer
from tests.faults.test_crash_points import MOST_RESTARTS, _people

AGENT = """
import pathlib, subprocess, sys
task = next(word for word in sys.stdin.read().split() if word.startswith("task_id=")).removeprefix("task_id=")
git = ["git", "-c", "user.name=agent", "-c", "user.email=agent@example.org"]
pathlib.Path("committed.txt").write_text("committed by " + task)
subprocess.run([*git, "add", "committed.txt"], check=True)
subprocess.run([*git, "commit", "-qm", "own"], check=True)
pathlib.Path("committed.txt").unlink()
pathlib.Path("README.md").write_text("changed by " + task)
pathlib.Path("deep").mkdir()
pathlib.Path("deep", "new.txt").write_text("new of " + task)
"""
WROTE = ("committed by {}", "changed by {}", "new of {}")
VERIFY = {"publishes": "true", "salvages": "false"}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path / "github") as made:
        _people(made)
        yield made


def installation(hub: PracticeGitHub, folder: Path, verify: str) -> Installation:
    folder.mkdir()
    made = Installation(hub, folder, environment(folder, hub, hub.add_token("agentd-bot")))
    made.agent(AGENT)
    made.configure("max_fix_rounds = 0\n[retention]\nworkspace_hours = 0\n", verify=verify)
    return made


def blob(content: str) -> str:
    return hashlib.sha1(f"blob {len(content)}\0{content}".encode()).hexdigest()


def missing(here: Installation, task: str) -> list[str]:
    """What the agent wrote and is nowhere any more; nothing is missing before it has ended."""
    state = here.folder / ".agentd" / "state"
    if not list(state.glob("runs/*/agent-0.result.json")):
        return []
    mirror = state / "mirrors" / "alice" / "widget.git"
    reachable = set(git("rev-list", "--objects", "--all", "--no-object-names", git_dir=mirror).splitlines())
    trees = here.folder / "worktrees"
    on_disk = {path.read_bytes() for path in trees.rglob("*") if path.is_file() and path.stat().st_size < 200}
    loose = {path.parent.name + path.name for path in trees.glob("**/objects/??/*")}
    contents = [text.format(task) for text in WROTE]
    return [text for text in contents if not ({blob(text)} & (reachable | loose) or text.encode() in on_disk)]


def resumed(server: ForkServer, here: Installation, number: int) -> list[str]:
    """The files of the pull request that a run which was killed comes to."""
    for _ in range(MOST_RESTARTS):
        if found := [pull for pull in here.pulls() if pull["head"]["ref"] == f"agent/issue-{number}"]:
            return sorted(row["filename"] for row in here.get(f"/pulls/{found[0]['number']}/files"))
        server.once(here, here.folder / "resumed")
    return []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", VERIFY)
def test_nothing_is_lost_at_any_command_of_a_run(
    scenario: str, server: ForkServer, hub: PracticeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sync (the base moves meanwhile), collect, push, salvage; and what is published in the end is whole."""
    lost: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for point in range(1, 200):
        here = installation(hub, tmp_path / str(point), VERIFY[scenario])
        number, trace = here.issue(), here.folder / "trace"
        ended = server.once(here, trace, point, commands=True, move_base=f"{hub.url}/repos/{REPO}")
        name = f"{point} {trace.read_text().splitlines()[-1]}"
        if found := missing(here, f"issue-{number}"):
            lost[name] = found
        if scenario == "publishes":
            ends[name] = resumed(server, here, number)
        here.act("PATCH", f"/issues/{number}", {"state": "closed"})
        if ended != -signal.SIGKILL:
            break
    commands = trace.read_text().splitlines()
    with capsys.disabled():
        print(f"\n{scenario}: killed before {len(commands)} commands, {len(lost)} lost something")
    assert lost == {}
    assert set(map(tuple, ends.values())) <= {("README.md", "deep/new.txt")}, ends
    assert {"fetch", "add", "commit-tree", "update-ref"} <= set(commands)
    assert scenario == "salvages" or {"read-tree", "push", "after move"} <= set(commands), "the base has moved"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", VERIFY)
def test_nothing_is_lost_at_any_command_of_a_clean_up(
    scenario: str, server: ForkServer, hub: PracticeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody has written into the workspace since, so that there is something to salvage."""
    lost: dict[str, list[str]] = {}
    for point in range(1, 200):
        here = installation(hub, tmp_path / str(point), VERIFY[scenario])
        number, trace = here.issue(), here.folder / "trace"
        assert server.once(here, trace) in {0, 1}
        [changed] = (here.folder / "worktrees").rglob("new.txt")
        changed.write_text(f"changed by issue-{number} and others")
        ended = server.once(here, trace, point, commands=True, clean=True)
        name = f"{point} {trace.read_text().splitlines()[-1]}"
        if found := missing(here, f"issue-{number}"):
            lost[name] = found
        mirror = here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"
        kept = set(git("rev-list", "--objects", "--all", "--no-object-names", git_dir=mirror).splitlines())
        text = f"changed by issue-{number} and others"
        if not (blob(text) in kept or (changed.is_file() and changed.read_text() == text)):
            lost[name] = [*lost.get(name, []), text]
        here.act("PATCH", f"/issues/{number}", {"state": "closed"})
        if ended != -signal.SIGKILL:
            break
    commands = trace.read_text().splitlines()
    with capsys.disabled():
        print(f"\nclean-up, {scenario}: killed before {len(commands)} commands, {len(lost)} lost something")
    assert lost == {}
    assert {"rm", "update-ref", "maintenance"} <= set(commands)
    assert not list((here.folder / "worktrees").rglob("new.txt")), "the last one was not killed"
