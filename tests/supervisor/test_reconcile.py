"""What people do on GitHub is noticed, however much else there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update

from agentd.config import Settings
from agentd.evidence.making import evidence_for
from agentd.evidence.writing import problems
from agentd.github import connect
from agentd.github.pulls import Pull, ensure_pull
from agentd.practice import PracticeGitHub
from agentd.run.context import Context
from agentd.states import RunState
from agentd.store import runs, schema
from agentd.store.connection import Store
from agentd.supervisor.reconcile import LOOKS_PER_TICK, follow_people, follow_pulls
from agentd.supervisor.records import sources_of, write_evidence
from agentd.supervisor.world import observe
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
    run = a_run(context.store, run_id, f"issue-{number}", order)
    for state in STAGES:
        runs.change_state(context.store, run_id, state)
    context.emit("pr_opened", run, {"pr_url": pull.url})
    how = {"failure_mode": "tool_call_failure", "terminal_reason": "final_answer", "label": "status:in-review"}
    runs.change_state(context.store, run_id, RunState.in_review, pr_number=pull.number, pr_url=pull.url, **how)
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


def edit(context: Context, number: int, **change: Any) -> None:
    context.github.request("PATCH", f"{context.github.base}/issues/{number}", body=change)


def merge(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    hub.merge(REPO, pull.number)
    follow_pulls(context)


def close(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    edit(context, pull.number, state="closed")
    follow_pulls(context)


def reopen(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    close(context, hub, pull)
    edit(context, pull.number, state="open")
    follow_pulls(context)


def merge_later(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    reopen(context, hub, pull)
    merge(context, hub, pull)


def merge_at_once(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    """Opened again and merged between two looks."""
    close(context, hub, pull)
    edit(context, pull.number, state="open")
    merge(context, hub, pull)


def ask_again(context: Context, hub: PracticeGitHub, pull: Pull) -> None:
    edit(context, 1, labels=["agent-ready", "status:todo"])
    follow_people(context, observe(context))


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (merge, RunState.merged),
        (close, RunState.closed_unmerged),
        (reopen, RunState.in_review),
        (merge_later, RunState.merged),
        (merge_at_once, RunState.merged),
        (ask_again, RunState.cancelled),
    ],
)
def test_evidence_stays_true_whatever_becomes_of_the_pull_request(
    context: Context, hub: PracticeGitHub, act: Callable[..., None], state: RunState
) -> None:
    pull, run_id = in_review(context, hub), "issue-001-1-aaaaaa"
    write_evidence(context, run_id)
    act(context, hub, pull)
    run = runs.get_run(context.store, run_id)
    assert run is not None
    assert run.state is state
    sources = sources_of(context)
    assert problems(sources.folder(run_id), evidence_for(sources, run_id)) == []
    for change in ({"state": "failed"}, {"reason": "all went well"}, {"terminal_reason": "x"}, {"failure_mode": ""}):
        before = {name: getattr(run, name) for name in change}
        for values in (change, before):
            with context.store.write() as connection:
                connection.execute(update(schema.runs).values(**values))
            found = problems(sources.folder(run_id), evidence_for(sources, run_id))
            assert bool(found) == (values is change), values
    (sources.folder(run_id) / "run_report.md").write_text("all went well")
    assert problems(sources.folder(run_id), evidence_for(sources, run_id))


def test_an_end_that_a_run_has_left_says_nothing_of_it(
    context: Context, hub: PracticeGitHub, clock: TurnedClock
) -> None:
    pull, run_id = in_review(context, hub), "issue-001-1-aaaaaa"

    def row() -> tuple[RunState, str, float | None]:
        run = runs.get_run(context.store, run_id)
        assert run is not None
        began = run.started_at
        return run.state, run.reason, run.finished_at and round((run.finished_at - began).total_seconds())

    close(context, hub, pull)
    assert row() == (RunState.closed_unmerged, "the pull request was closed", 0)
    clock.pass_seconds(60)
    edit(context, pull.number, state="open")
    follow_pulls(context)
    assert row() == (RunState.in_review, "", None)
    clock.pass_seconds(60)
    merge(context, hub, pull)
    assert row() == (RunState.merged, "", 120)


def test_what_was_merged_between_two_looks_is_not_said_to_be_closed(context: Context, hub: PracticeGitHub) -> None:
    pull = in_review(context, hub)
    merge_at_once(context, hub, pull)
    run = runs.get_run(context.store, "issue-001-1-aaaaaa")
    assert run is not None
    assert (run.state, run.reason) == (RunState.merged, "")


@pytest.mark.parametrize(("act", "state"), [(merge, RunState.merged), (close, RunState.closed_unmerged)])
def test_an_issue_that_takes_no_comment_does_not_keep_its_pull_request_from_being_followed(
    context: Context, hub: PracticeGitHub, act: Callable[..., None], state: RunState
) -> None:
    pull = in_review(context, hub)
    hub.fault(method="POST", path="/issues/1/comments$", status=403, times=1000)
    act(context, hub, pull)
    run = runs.get_run(context.store, "issue-001-1-aaaaaa")
    assert run is not None
    assert run.state is state
