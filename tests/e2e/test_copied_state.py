"""A state directory that was copied while its first owner lives, and both started: each issue is worked on once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path

from agentd.practice import PracticeGitHub
from tests.e2e.conftest import Installation, written
from tests.e2e.test_restart import wait_for

TASKS = 8
AGENT = """
import pathlib, sys, time
task = next(word for word in sys.stdin.read().split() if word.startswith("task_id=")).removeprefix("task_id=")
pathlib.Path("work.txt").write_text(task)
time.sleep(8 if task == "issue-1" else 1)
"""


def copy_of(here: Installation, folder: Path) -> Installation:
    """The whole home copied while it is in use, its databases in one piece each, as a backup does it."""
    ignored = shutil.ignore_patterns("*.db*", "supervisor.*")
    with suppress(shutil.Error):  # files come and go meanwhile
        shutil.copytree(here.folder, folder, symlinks=True, ignore=ignored)
    for source in here.folder.glob(".agentd/state/*.db"):
        target = folder / source.relative_to(here.folder)
        with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
            old.backup(new)
    return Installation(here.hub, folder, here.environ | {"HOME": str(folder)})


def started(*installations: Installation) -> Counter[str]:
    """How often each task's agent was started, in all of them together; what was copied counts once."""
    events: dict[str, dict[str, str]] = {}
    for installation in installations:
        for line in (installation.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            events[event["event_id"]] = event
    return Counter(event["task_id"] for event in events.values() if event["event_type"] == "agent_started")


def test_each_issue_is_worked_on_once(here: Installation, hub: PracticeGitHub, tmp_path: Path) -> None:
    here.agent(AGENT)
    here.configure("poll_interval_seconds = 0.3\nmax_parallel = 2\n", verify="true")
    numbers = [here.issue("The first one's")]
    here.run("start")
    wait_for(lambda: written(here.folder, "worktrees/*/*/issue-1", "work.txt"))
    copied = copy_of(here, tmp_path / "copied")
    copied.run("start")
    try:
        numbers += [here.issue(f"Task {number}") for number in range(1, TASKS)]
        wait_for(lambda: len(here.pulls()) == TASKS, 90)
        wait_for(lambda: all(here.labels(number) == {"agent-ready", "status:in-review"} for number in numbers))
    finally:
        for installation in (copied, here):
            installation.run("stop")
    assert started(here, copied) == {f"issue-{number}": 1 for number in numbers}
    assert started(copied) - started(here), "the copy got nothing: the test shows nothing"
    assert len(here.pulls("all")) == TASKS
    [given_way] = [run for run in copied.status()["recent"] if run["issue_number"] == 1]
    assert (given_way["state"], "copied" in given_way["reason"]) == ("cancelled", True)
