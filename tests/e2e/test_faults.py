"""Every write of a task's whole life against every fault: the end is the same, and nothing is there twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dbos
import pytest
import pytest_asyncio

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.run import engine
from agentd.run.desk import MOST_TRIES
from agentd.states import RunState
from agentd.store import holds, runs
from agentd.supervisor.daemon import Stop, _until_ended
from agentd.supervisor.tick import tick
from agentd.supervisor.world import observe
from tests.e2e.conftest import REPO, Installation, environment
from tests.e2e.inside import Inside, inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
PLAIN = {"Content-Type": "text/plain"}
"""git shows what a server says only when it is plain text."""
FAULTS: dict[str, dict[str, Any]] = {
    "500 before": {"status": 500},
    "502 after": {"status": 502, "after": True},
    "dropped before": {"drop": "before"},
    "dropped after": {"drop": "after"},
    "403 secondary with Retry-After": {"status": 403, "body": SECONDARY, "headers": {"Retry-After": "1"} | PLAIN},
    "403 secondary": {"status": 403, "body": SECONDARY, "headers": PLAIN},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
}
RESULT = {"Content-Type": "application/x-git-receive-pack-result"}
ANSWER_LOST = {"502 after", "dropped after"}
"""Faults after which the work is done."""
LABELS = {"label at the start": "status:in-progress", "label for the review": "status:in-review"}
"""Labels that are asked for again when the first request came to nothing."""


@dataclass(frozen=True)
class Write:
    """The request that a fault is for: the first that matches, after `skip` others that match."""

    method: str
    path: str
    skip: int = 0


RUN = {
    "push of the claim": Write("POST", "/git-receive-pack$"),
    "label at the start": Write("POST", "/issues/1/labels$"),
    "unlabel at the start": Write("DELETE", "/issues/1/labels/"),
    "comment": Write("POST", "/issues/1/comments$"),
    "push of the branch": Write("POST", "/git-receive-pack$", 1),
    "pull request": Write("POST", "/pulls$"),
    "label for the review": Write("POST", "/issues/1/labels$", 1),
    "unlabel for the review": Write("DELETE", "/issues/1/labels/", 1),
    "edit of the comment": Write("PATCH", "/issues/comments/"),
    "end of the claim": Write("POST", "/git-receive-pack$", 2),
}
AGAIN = {"edit of the pull request": Write("PATCH", "/pulls/2$")}
MERGE = {
    "close": Write("PATCH", "/issues/1$"),
    "unlabel after the merge": Write("DELETE", "/issues/1/labels/"),
    "edit of the comment after the merge": Write("PATCH", "/issues/comments/"),
    "removal of the branch": Write("DELETE", "/git/refs/heads/"),
}
LIVES = (
    ("push of the claim", "pull request", "close"),
    ("label at the start", "push of the branch", "unlabel after the merge"),
    ("unlabel at the start", "label for the review", "edit of the comment after the merge"),
    ("comment", "unlabel for the review", "removal of the branch"),
    ("push of the claim", "edit of the comment", "close"),
    ("label at the start", "end of the claim", "edit of the comment after the merge"),
    ("edit of the pull request", "removal of the branch"),
)
"""Writes of one life that go wrong together: none is in the other's way, and every write stands in one of them."""
assert {name for life in LIVES for name in life} == {*RUN, *AGAIN, *MERGE}
numbers = itertools.count()


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path_factory.mktemp("github")) as made:
        for name in ("alice", "agentd-bot"):
            made.add_user(name)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def launched(github: PracticeGitHub, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    """The engine, once for all cases: a process has only one."""
    await engine.launch(inside(github, REPO, tmp_path_factory.mktemp("engine") / "home").context)
    yield
    dbos.DBOS.destroy()


def not_written(ref: str) -> str:
    """GitHub's answer to a push when it has trouble with its refs: the report and what is said, each on its band."""

    def line(text: str) -> str:
        return f"{len(text) + 4:04x}{text}"

    report = line("unpack ok\n") + line(f"ng {ref} failure\n") + "0000"
    return line("\x02fatal error in commit_refs\n") + line(f"\x01{report}") + "0000"


@dataclass
class Life:
    """One issue in a repository of its own, from the label to the merge."""

    here: Inside
    seen: Installation
    """the repository as its owner sees it"""

    @property
    def run_state(self) -> RunState | None:
        latest = runs.latest_by_task(self.here.context.store).get("issue-1")
        return latest.state if latest else None

    def arm(self, write: Write, fault: dict[str, Any]) -> None:
        """Let this write go wrong; the ones that are skipped get a fault without any effect."""
        if write.skip:
            self.seen.hub.fault(write.method, self.path(write), times=write.skip)
        self.seen.hub.fault(write.method, self.path(write), **fault)

    def path(self, write: Write) -> str:
        return f"{self.seen.repo}(\\.git)?{write.path}"

    async def until_in_review(self) -> None:
        await self.here.until(lambda: self.run_state is RunState.in_review)

    async def until_merged(self) -> None:
        """A person merges, without the words in the description that let GitHub close the issue by itself."""
        self.seen.act("PATCH", "/pulls/2", {"body": "no words"})
        self.seen.hub.merge(self.seen.repo, 2)
        await self.here.until(lambda: self.run_state is RunState.merged)

    def lose(self, number: int, how: str) -> None:
        """An issue leaves the repository, "deleted" or "transferred"."""
        if how == "deleted":
            self.seen.hub.delete_issue(self.seen.repo, number)
        else:
            other = f"{self.seen.repo}-other"
            self.seen.hub.add_repo(other)
            self.seen.hub.transfer_issue(self.seen.repo, number, other)

    def ask_again(self) -> None:
        self.seen.act("POST", "/issues/1/labels", {"labels": ["status:todo"]})
        self.seen.act("DELETE", "/issues/1/labels/status:in-review")

    def label_changes(self) -> list[str]:
        """What agentd did to the labels, as GitHub's own events tell it."""
        signs = {"labeled": "+", "unlabeled": "-"}
        return [
            signs[event["event"]] + event["label"]["name"].removeprefix("status:")
            for event in self.seen.get("/issues/1/events?per_page=100")
            if event["event"] in signs and event["actor"]["login"] == "agentd-bot"
        ]

    def asked(self, word: str) -> int:
        """How often agentd asked for a status label to be set."""
        return sum(
            record.method == "POST"
            and record.path == f"/repos/{self.seen.repo}/issues/1/labels"
            and word.encode() in (record.body or b"")
            for record in self.seen.hub.log
        )

    def remote_refs(self) -> list[str]:
        """All refs but those that GitHub itself keeps for pull requests."""
        folder = self.seen.hub.world.root / f"{self.seen.repo}.git"
        refs = git("for-each-ref", "--format=%(refname)", git_dir=folder).splitlines()
        return [ref for ref in refs if not ref.startswith("refs/pull/")]


def live(github: PracticeGitHub, folder: Path, timeout_seconds: int = 10) -> Iterator[Life]:
    repo = f"alice/widget-{next(numbers)}"
    github.add_repo(repo)
    github.grant(repo, "agentd-bot", "write")
    here = inside(github, repo, folder, timeout_seconds)
    seen = Installation(github, folder, environment(folder, github, ""), repo=repo)
    assert github.create_issue(repo, "Do it", "Please.", ["agent-ready", "status:todo"]) == 1
    yield Life(here, seen)
    struck = not github.world.faults
    github.world.faults.clear()
    here.close()
    assert struck, "the fault never struck: the test shows nothing"


@pytest.fixture
def life(github: PracticeGitHub, launched: None, tmp_path: Path) -> Iterator[Life]:
    yield from live(github, tmp_path / "home")


@pytest.fixture
def impatient(github: PracticeGitHub, launched: None, tmp_path: Path) -> Iterator[Life]:
    """A life that gives GitHub one second for an answer."""
    yield from live(github, tmp_path / "home", timeout_seconds=1)


UP_TO_REVIEW = ["+in-progress", "-todo", "+in-review", "-in-progress"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("names", LIVES, ids=", ".join)
async def test_one_of_everything_whatever_goes_wrong(life: Life, names: tuple[str, ...], fault: str) -> None:
    *before, after = names
    for name in RUN.keys() & before:
        life.arm(RUN[name], FAULTS[fault])
    await life.until_in_review()
    changes = UP_TO_REVIEW
    for name in AGAIN.keys() & before:
        life.arm(AGAIN[name], FAULTS[fault])
        life.ask_again()
        await life.until_in_review()
        changes = changes * 2
    assert life.label_changes() == changes
    assert life.seen.labels(1) == {"agent-ready", "status:in-review"}
    [pull] = life.seen.pulls("all")
    [sticky] = life.seen.stickies(1)
    assert pull["state"] == "open"
    assert pull["html_url"] in sticky
    assert life.remote_refs() == ["refs/heads/agent/issue-1", "refs/heads/main"]
    for name, label in LABELS.items():
        refused = name in before and fault not in ANSWER_LOST
        assert life.asked(label) == len(changes) // 4 + refused, "asked for a label that was there"
    life.arm(MERGE[after], FAULTS[fault])
    await life.until_merged()
    assert life.label_changes() == [*changes, "-in-review"]
    issue = life.seen.get("/issues/1")
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert life.seen.labels(1) == {"agent-ready"}
    assert len(life.seen.stickies(1)) == len(life.seen.pulls("all")) == 1
    assert life.seen.stickies(1)[0].splitlines()[1] == "**Merged**"
    assert life.remote_refs() == ["refs/heads/main"]


@pytest.mark.parametrize(
    ("name", "ref"),
    [("push of the claim", "refs/agentd/claims/issue-1"), ("push of the branch", "refs/heads/agent/issue-1")],
)
async def test_a_ref_that_github_fails_to_write_is_pushed_again(life: Life, name: str, ref: str) -> None:
    life.arm(RUN[name], {"status": 200, "headers": RESULT, "body": not_written(ref)})
    await life.until_in_review()
    assert life.label_changes() == UP_TO_REVIEW
    assert not any("refuses" in run.reason for run in runs.latest_runs(life.here.context.store))


async def test_slow_answers_are_waited_for(life: Life) -> None:
    for name in ("push of the branch", "pull request"):
        life.arm(RUN[name], {"delay": 3})
    await life.until_in_review()
    assert life.label_changes() == UP_TO_REVIEW
    assert len(life.seen.stickies(1)) == len(life.seen.pulls("all")) == 1


@pytest.mark.parametrize("name", ["label at the start", "comment", "pull request", "label for the review"])
async def test_an_answer_that_comes_too_late_makes_nothing_twice(impatient: Life, name: str) -> None:
    impatient.arm(RUN[name], {"delay": 1.5})
    await impatient.until_in_review()
    assert impatient.label_changes() == UP_TO_REVIEW
    assert len(impatient.seen.stickies(1)) == len(impatient.seen.pulls("all")) == 1


@pytest.mark.parametrize("name", ["label at the start", "pull request", "label for the review"])
async def test_a_github_that_stays_ill_for_hours_is_waited_out(life: Life, name: str) -> None:
    write = RUN[name]
    if write.skip:
        life.seen.hub.fault(write.method, life.path(write), times=write.skip)
    tries = 3 if name == "pull request" else 1
    life.seen.hub.fault(write.method, life.path(write), status=500, times=tries * (MOST_TRIES + 3))
    told = {"agent-ready", "status:in-review"}
    await life.here.until(lambda: life.run_state is RunState.in_review and life.seen.labels(1) == told)
    assert life.label_changes()[-2:] == UP_TO_REVIEW[-2:]
    assert "+blocked" not in life.label_changes()
    [pull] = life.seen.pulls("all")
    [sticky] = life.seen.stickies(1)
    assert pull["html_url"] in sticky


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_pull_request_that_is_closed_blocks_the_issue_once(life: Life, fault: str) -> None:
    await life.until_in_review()
    life.seen.act("PATCH", "/pulls/2", {"state": "closed"})
    for write in (Write("POST", "/issues/1/labels$"), MERGE["edit of the comment after the merge"]):
        life.arm(write, FAULTS[fault])
    await life.here.until(lambda: life.run_state is RunState.closed_unmerged)
    assert life.label_changes() == [*UP_TO_REVIEW, "+blocked", "-in-review"]
    assert "closed without merging" in life.seen.stickies(1)[0]


async def test_a_branch_with_newer_work_is_left_alone_and_holds_nothing_up(life: Life) -> None:
    await life.until_in_review()
    life.seen.hub.merge(life.seen.repo, 2)
    newer = life.seen.hub.commit(life.seen.repo, "agent/issue-1", {"more.txt": "a person's"})
    await life.here.until(lambda: life.run_state is RunState.merged, ticks=1)
    assert life.seen.get("/git/ref/heads/agent/issue-1")["object"]["sha"] == newer


@pytest.mark.parametrize("how", ["deleted", "transferred"])
@pytest.mark.parametrize("state", [RunState.merged, RunState.closed_unmerged])
async def test_an_issue_that_is_gone_holds_nothing_up(life: Life, state: RunState, how: str) -> None:
    await life.until_in_review()
    await life.here.tick()
    life.lose(1, how)
    if state is RunState.merged:
        life.seen.hub.merge(life.seen.repo, 2)
    else:
        life.seen.act("PATCH", "/pulls/2", {"state": "closed"})
    await life.here.until(lambda: life.run_state is state, ticks=1)


@pytest.mark.parametrize("how", ["deleted", "transferred"])
async def test_an_issue_that_is_gone_does_not_keep_others_from_starting(life: Life, how: str) -> None:
    second = life.seen.issue("Second")
    await life.until_in_review()
    third = life.seen.issue("Third")
    world = observe(life.here.context)
    assert third in world.issues
    life.lose(third, how)
    fourth = life.seen.issue("Fourth")
    await life.here.tick()
    latest = runs.latest_by_task(life.here.context.store)
    assert {f"issue-{second}", f"issue-{fourth}"} <= latest.keys()
    assert f"issue-{third}" not in latest


async def test_a_run_whose_place_is_still_taken_up_by_last_words_is_carried_by_the_same_once(life: Life) -> None:
    context, memory = life.here.context, life.here.memory
    others = {f"last-words-{number}": context.clock.boottime() for number in range(context.settings.max_parallel)}
    context.carried.update(others)
    asyncio.get_running_loop().call_later(2.0, lambda: [context.carried.pop(name) for name in others])
    done = await tick(context, memory)
    [started] = [run.run_id for run in done.started]
    assert done.revived == []
    async with asyncio.timeout(60):
        await _until_ended(context, memory, [started], Stop())
    assert life.run_state is RunState.in_review


async def test_a_run_that_nobody_has_taken_is_not_waited_for_after_a_signal(life: Life) -> None:
    context, memory = life.here.context, life.here.memory
    others = {f"last-words-{number}": context.clock.boottime() for number in range(context.settings.max_parallel)}
    context.carried.update(others)
    done = await tick(context, memory)
    async with asyncio.timeout(60):
        await _until_ended(context, memory, [run.run_id for run in done.started], Stop(asked=1))
    assert life.run_state is RunState.queued


async def test_a_base_branch_that_is_renamed_holds_everything_and_blocks_nothing(life: Life) -> None:
    second, folder = life.seen.issue("Second"), life.seen.hub.world.root / f"{life.seen.repo}.git"
    git("branch", "-m", "main", "trunk", git_dir=folder)
    for _ in range(3):
        await life.here.tick()
        life.here.clock.jump(60)
    assert life.seen.labels(1) == life.seen.labels(second) == {"agent-ready", "status:todo"}
    assert holds.holds(life.here.context.store)["*"].rule_id == "base_branch_missing"
    git("branch", "-m", "trunk", "main", git_dir=folder)
    await life.until_in_review()
