"""What people do on GitHub is noticed, however much else there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.config import Settings
from agentd.github import connect
from agentd.github.pulls import Pull, ensure_pull
from agentd.practice import PracticeGitHub
from agentd.run.context import Context
from agentd.states import RunState
from agentd.store import runs
from agentd.store.connection import Store
from agentd.supervisor.reconcile import LOOKS_PER_TICK, follow_pulls
from tests.conftest import TurnedClock
from tests.run.test_recording import TASK
from tests.store.test_store import a_run

REPO = "alice/widget"
STAGES = (RunState.preparing, RunState.syncing, RunState.verifying, RunState.publishing)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path / "github") as made:
        for login in ("alice", "bot"):
            made.add_user(login)
        made.add_repo(REPO)
        made.grant(REPO, "bot", "write")
        yield made


@pytest.fixture
def context(hub: PracticeGitHub, store: Store, clock: TurnedClock, tmp_path: Path) -> Context:
    settings = {"repo": REPO, "state_dir": tmp_path / "state", "log_dir": tmp_path / "logs"}
    github = connect(hub.url, hub.add_token("bot"), REPO, clock=clock.now, sleep=clock.pass_seconds)
    no_mirror = cast(Any, None)
    return Context(Settings.model_validate(settings), store, github, no_mirror, clock, "host/aaaaaaaa:1", {}, "h")


def in_review(context: Context, hub: PracticeGitHub) -> Pull:
    """A pull request of a run that waits for its review; the ids of later runs are greater."""
    number = hub.create_issue(REPO, "Do it", "", ["agent-ready", "status:in-review"])
    branch, run_id = f"agent/issue-{number}", f"issue-{number:03}-1-aaaaaa"
    hub.commit(REPO, branch, {f"{number}.txt": "x"})
    pull = ensure_pull(context.github, branch, "main", "t", "b")
    order = {"task": TASK.model_dump(mode="json"), "profile": {"name": "build", "adapter": "builtin"}, "prompt": ""}
    a_run(context.store, run_id, f"issue-{number}", order)
    for state in STAGES:
        runs.change_state(context.store, run_id, state)
    runs.change_state(context.store, run_id, RunState.in_review, pr_number=pull.number, pr_url=pull.url)
    return pull


def test_every_old_pull_request_has_its_turn(context: Context, hub: PracticeGitHub) -> None:
    pulls = [in_review(context, hub) for _ in range(LOOKS_PER_TICK + 2)]
    merged = pulls[-1].number
    hub.merge(REPO, merged)
    data = context.github.request("GET", f"{context.github.base}/pulls/{pulls[0].number}").data
    newest = json.dumps([{**data, "number": 1000 + each} for each in range(100)])
    hub.fault(method="GET", path="/pulls$", status=200, body=newest, times=2)
    assert follow_pulls(context) == []
    [moved] = follow_pulls(context)
    assert (moved.pr_number, moved.state) == (merged, RunState.merged)
    asked = [
        int(record.path.rpartition("/")[2]) for record in hub.log if record.path.startswith(f"/repos/{REPO}/pulls/")
    ]
    assert set(asked) == {pull.number for pull in pulls}
    assert len(asked) == 1 + 2 * LOOKS_PER_TICK
