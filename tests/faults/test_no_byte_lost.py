"""Kill -9 before every command that writes: whatever the agent wrote is in an object that a ref reaches, or on disk."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation, environment
from tests.faults.forks import ForkServer, Servers, fork_servers
from tests.faults.test_crash_points import MOST_RESTARTS, SERVERS, _people

T = TypeVar("T")
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
def servers() -> Iterator[Servers]:
    """Lends one of a few fork servers, so that as many plays go on side by side."""
    with fork_servers(SERVERS) as lend:
        yield lend


@contextmanager
def world(folder: Path, verify: str) -> Iterator[tuple[Installation, int]]:
    """A GitHub with one issue, and an installation on it."""
    folder.mkdir()
    with PracticeGitHub(folder / "github") as hub:
        _people(hub)
        here = installation(hub, folder / "home", verify)
        yield here, here.issue()


def each(act: Callable[[int], T], points: int) -> list[T]:
    """The results of all plays, a few at a time."""
    with ThreadPoolExecutor(SERVERS) as pool:
        return list(pool.map(act, range(1, points + 1)))


def installation(hub: PracticeGitHub, folder: Path, verify: str) -> Installation:
    folder.mkdir()
    made = Installation(hub, folder, environment(folder, hub, hub.add_token("agentd-bot")))
    made.agent(AGENT)
    made.configure("max_fix_rounds = 0\n[retention]\nworkspace_hours = 0\n", verify=verify)
    return made


def blob(content: str) -> str:
    return hashlib.sha1(f"blob {len(content)}\0{content}".encode()).hexdigest()


def missing(here: Installation, task: str, *more: str) -> list[str]:
    """What the agent wrote and is nowhere any more; nothing is missing before it has ended."""
    state = here.folder / ".agentd" / "state"
    if not list(state.glob("runs/*/agent-0.result.json")):
        return []
    mirror = state / "mirrors" / "alice" / "widget.git"
    reachable = set(git("rev-list", "--objects", "--all", "--no-object-names", git_dir=mirror).splitlines())
    trees = here.folder / "worktrees"
    on_disk = {path.read_bytes() for path in trees.rglob("*") if path.is_file() and path.stat().st_size < 200}
    loose = {path.parent.name + path.name for path in trees.glob("**/objects/??/*")}
    contents = [*(text.format(task) for text in WROTE), *more]
    return [text for text in contents if not ({blob(text)} & (reachable | loose) or text.encode() in on_disk)]


def resumed(server: ForkServer, here: Installation) -> list[str]:
    """The files of the pull request that a run which was killed comes to."""
    for _ in range(MOST_RESTARTS):
        if found := here.pulls():
            return sorted(row["filename"] for row in here.get(f"/pulls/{found[0]['number']}/files"))
        server.once(here, here.folder / "resumed")
    return []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", VERIFY)
def test_nothing_is_lost_at_any_command_of_a_run(
    scenario: str, servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sync (the base moves meanwhile), collect, push, salvage; and what is published in the end is whole."""

    def play(point: int) -> tuple[int, list[str], list[str], list[str]]:
        with servers() as server, world(tmp_path / str(point), VERIFY[scenario]) as (here, number):
            trace = here.folder / "trace"
            ended = server.once(here, trace, point, commands=True, move_base=f"{here.hub.url}/repos/{REPO}")
            lost = missing(here, f"issue-{number}")
            made = resumed(server, here) if scenario == "publishes" else []
            return ended, trace.read_text().splitlines(), lost, made

    _, commands, *_ = play(0)
    plays = each(play, len(commands))
    lost = {f"{number} {commands[number - 1]}": found for number, (_, _, found, _) in enumerate(plays, 1) if found}
    with capsys.disabled():
        print(f"\n{scenario}: killed before {len(commands)} commands, {len(lost)} lost something")
    assert lost == {}
    assert {ended for ended, *_ in plays} == {-signal.SIGKILL}
    assert {tuple(made) for *_, made in plays} == {("README.md", "deep/new.txt") if scenario == "publishes" else ()}
    assert {"fetch", "add", "commit-tree", "update-ref"} <= set(commands)
    assert scenario == "salvages" or {"read-tree", "push", "after move"} <= set(commands), "the base has moved"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", VERIFY)
def test_nothing_is_lost_at_any_command_of_a_clean_up(
    scenario: str, servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody has written into the workspace since, so that there is something to salvage."""

    def play(point: int) -> tuple[int, list[str], list[str]]:
        with servers() as server, world(tmp_path / str(point), VERIFY[scenario]) as (here, number):
            trace, text = here.folder / "trace", f"changed by issue-{number} and others"
            assert server.once(here, trace) in {0, 1}
            [changed] = (here.folder / "worktrees").rglob("new.txt")
            changed.write_text(text)
            ended = server.once(here, trace, point, commands=True, clean=True)
            return ended, trace.read_text().splitlines(), missing(here, f"issue-{number}", text)

    ended, commands, lost = play(0)
    assert (ended, lost) == (0, [])
    assert not list((tmp_path / "0" / "home" / "worktrees").rglob("new.txt")), "this one was not killed"
    plays = each(play, len(commands))
    with capsys.disabled():
        print(f"\nclean-up, {scenario}: killed before {len(commands)} commands")
    assert {ended for ended, *_ in plays} == {-signal.SIGKILL}
    assert [found for *_, found in plays if found] == []
    assert {"rm", "update-ref", "maintenance"} <= set(commands)
