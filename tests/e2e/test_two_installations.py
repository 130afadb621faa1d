"""Two installations without a shared store on one repository: each task is worked on by exactly one of them."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentd.git.runner import Author, git
from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation, environment
from tests.e2e.test_restart import agents, wait_for

TASKS = 50
AGENT = """
import sys, time
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
time.sleep(0.3)
open(f"{task}.txt", "w").write(task)
"""


@pytest.fixture
def other(here: Installation, hub: PracticeGitHub, tmp_path: Path) -> Installation:
    folder = tmp_path / "other"
    folder.mkdir()
    hub.add_user("second-bot")
    hub.grant(REPO, "second-bot", "write")
    return Installation(hub, folder, environment(folder, hub, hub.add_token("second-bot")))


def worked_on(here: Installation) -> list[str]:
    """Tasks whose agent was started here."""
    events = (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    return [event["task_id"] for event in map(json.loads, events) if event["event_type"] == "agent_started"]


def test_each_task_is_worked_on_once(here: Installation, other: Installation) -> None:
    for installation in (here, other):
        installation.agent(AGENT)
        installation.configure("poll_interval_seconds = 0.5\nmax_parallel = 3\n", verify="true")
    numbers = [here.issue(f"Task {number}") for number in range(TASKS)]
    for installation in (here, other):
        installation.run("start")
    try:
        until = time.monotonic() + 150
        while len(here.pulls()) < TASKS and time.monotonic() < until:
            time.sleep(0.5)
    finally:
        for installation in (here, other):
            installation.run("stop")
    done = sorted(worked_on(here) + worked_on(other))
    assert done == sorted(f"issue-{number}" for number in numbers)
    assert worked_on(here), "the first installation got nothing: the test shows nothing"
    assert worked_on(other), "the second installation got nothing: the test shows nothing"
    assert len(here.pulls("all")) == TASKS
    for number in numbers:
        assert here.labels(number) == {"agent-ready", "status:in-review"}


def claim_of_a_stranger(hub: PracticeGitHub, folder: Path, task_id: str, lease_seconds: float) -> None:
    """What another installation leaves on the remote."""
    remote = folder / "github" / "alice" / "widget.git"
    message = json.dumps({"installation": "stranger", "holder": "stranger/host", "lease_seconds": lease_seconds})
    leave_claim(remote, task_id, message)


def leave_claim(remote: Path, task_id: str, message: str) -> None:
    tree = git("hash-object", "-t", "tree", "-w", "--stdin", git_dir=remote, stdin=b"")
    author = Author("s", "s@example.org").environment()
    sha = git("commit-tree", tree, git_dir=remote, stdin=message.encode(), environment=author)
    git("update-ref", f"refs/agentd/claims/{task_id}", sha, git_dir=remote)


def test_a_foreign_claim_is_respected_and_taken_over_only_after_its_lease(
    here: Installation, hub: PracticeGitHub, tmp_path: Path
) -> None:
    number = here.issue()
    claim_of_a_stranger(hub, tmp_path, f"issue-{number}", lease_seconds=15)
    [run] = here.once()["runs"]
    assert (run["state"], run["label"]) == ("cancelled", "")
    assert "stranger/host" in run["reason"]
    assert here.labels(number) == {"agent-ready", "status:todo"}
    assert here.stickies(number) == []
    assert "claim_elsewhere" in here.run("once", "--dry-run")
    time.sleep(15.5)
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"
    with sqlite3.connect(f"file:{here.folder}/.agentd/state/agentd.db?mode=ro", uri=True) as store:
        [(charged,)] = store.execute("SELECT count(*) FROM attempts WHERE cleared = 0")
    assert charged == 1, "giving way must not cost an attempt"


def test_a_remote_that_refuses_claims_holds_everything_with_a_way_out(here: Installation, hub: PracticeGitHub) -> None:
    hub.configure(custom_refs=False)
    number = here.issue()
    here.once()
    said = here.run("status")
    assert "claim_ref_refused" in said
    assert "remote = false" in said
    assert here.labels(number) == {"agent-ready", "status:todo"}
    assert here.once()["runs"] == []
    here.configure("[claim]\nremote = false\n")
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


SAYS = '{"installation": "stranger", "holder": "stranger/host", '


@pytest.mark.parametrize(
    "message",
    [SAYS + '"lease_seconds": 1' + 400 * "0" + "}", 50_000 * "[", SAYS + '"lease_seconds": 60, "at": "2026-01-01"}'],
    ids=["a lease without end", "nested", "a time without a zone"],
)
def test_a_claim_that_nobody_can_read_stops_nothing_else(
    here: Installation, hub: PracticeGitHub, tmp_path: Path, message: str
) -> None:
    stranded = hub.create_issue(REPO, "Claimed", "text", ["agent-ready", "status:in-progress"], author="alice")
    leave_claim(tmp_path / "github" / "alice" / "widget.git", f"issue-{stranded}", message)
    number = here.issue()
    [run] = here.once()["runs"]
    assert (run["issue_number"], run["state"]) == (number, "in_review")
    assert "Traceback" not in here.run("why", f"issue-{stranded}", check=None)


def test_a_remote_that_refuses_a_renewal_for_a_while_ends_no_run(here: Installation, tmp_path: Path) -> None:
    here.agent("import sys, time\nsys.stdin.read()\ntime.sleep(8)\nopen('done.txt', 'w').write('x')\n")
    here.configure("[claim]\nlease_seconds = 3\nremote_lease_seconds = 6\n")
    here.issue()
    hook = tmp_path / "github" / "alice" / "widget.git" / "hooks" / "update"
    refused = tmp_path / "refused"
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(here.once)
        wait_for(lambda: agents(here.folder), 20)
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho $1 >> {refused}\nexit 1\n")
        hook.chmod(0o755)
        wait_for(refused.exists)
        hook.unlink()
        [run] = done.result()["runs"]
    assert (run["state"], run["generation"]) == ("in_review", 1)
    assert "refs/agentd/claims/" in refused.read_text()


def test_an_issue_that_nobody_works_on_does_not_stay_in_progress(here: Installation, hub: PracticeGitHub) -> None:
    number = hub.create_issue(REPO, "Lost", "text", ["agent-ready", "status:in-progress"], author="alice")
    [run] = here.once()["runs"]
    assert (run["issue_number"], run["state"]) == (number, "in_review")
