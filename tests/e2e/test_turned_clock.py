"""The wall clock jumps by an hour while a run lives or a task waits: nothing ends early, nothing waits for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import dbos
import pytest
import pytest_asyncio

from agentd.model import Profile
from agentd.practice import PracticeGitHub
from agentd.run import engine, workflow
from agentd.states import ACTIVE, RunState
from agentd.store import claims, runs
from tests.e2e.conftest import REPO, written
from tests.e2e.inside import Inside, inside

HOUR = 3600.0
AGENT = "cat > work.txt; test -e {folder}/good || exit 1; until test -e {folder}/end; do sleep 0.05; done"
LEASE_SECONDS = 8.0


@pytest_asyncio.fixture
async def here(hub: PracticeGitHub, tmp_path: Path) -> AsyncIterator[Inside]:
    """An installation whose agent works until the test lets it end, and fails unless it may be good."""
    made = inside(hub, REPO, tmp_path / "inside")
    agent = Profile(name="build", adapter="command", command=("sh", "-c", AGENT.format(folder=tmp_path)))
    settings = made.context.settings
    claim = settings.claim.model_copy(update={"lease_seconds": LEASE_SECONDS, "remote_lease_seconds": LEASE_SECONDS})
    # The agent looks at files of the host.
    changed = settings.model_copy(update={"profiles": {"build": agent}, "claim": claim, "sandbox": "none"})
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"loop_budget: {{max_wall_seconds: {HOUR / 2}}}\n")
    changed = changed.model_copy(update={"policy": policy})
    made.context = replace(made.context, settings=changed)
    workflow.use(made.context)
    await engine.launch(made.context)
    hub.create_issue(REPO, "Do it", "text", ["agent-ready", "status:todo"], author="alice")
    yield made
    dbos.DBOS.destroy()
    made.close()


def latest(here: Inside) -> RunState:
    return runs.latest_by_task(here.context.store)["issue-1"].state


async def working(here: Inside, folder: Path) -> asyncio.Task[object]:
    """A tick whose run has its agent at work now."""
    ticking = asyncio.create_task(here.tick())
    async with asyncio.timeout(20):
        while not written(folder, "inside/worktrees/issue-1", "work.txt") or latest(here) is not RunState.running:
            await asyncio.sleep(0.05)
    return ticking


@pytest.mark.parametrize("jumps", [(-HOUR,), (HOUR,), (-HOUR, 2 * HOUR)], ids=["back", "on", "back and on"])
async def test_a_living_run_does_not_notice(here: Inside, tmp_path: Path, jumps: tuple[float, ...]) -> None:
    (tmp_path / "good").touch()
    ticking = await working(here, tmp_path)
    generation = claims.list_claims(here.context.store)[0].claim.generation
    for seconds in jumps:
        here.clock.jump(seconds)
        await asyncio.sleep(LEASE_SECONDS / 2)
        assert latest(here) in ACTIVE
    [row] = [row for row in claims.list_claims(here.context.store) if row.claim.task_id == "issue-1"]
    assert row.claim.generation == generation
    assert 0 < row.seconds_left <= LEASE_SECONDS
    (tmp_path / "end").touch()
    async with asyncio.timeout(20):
        await ticking
    assert latest(here) is RunState.in_review
    assert len(runs.latest_runs(here.context.store)) == 1


@pytest.mark.parametrize(("seconds", "starts"), [(-HOUR, 1), (HOUR, 1), (0, 0)], ids=["back", "on", "not at all"])
async def test_a_task_that_waits_after_a_failure_does_not_wait_for_an_hour(
    here: Inside, tmp_path: Path, seconds: float, starts: int
) -> None:
    await here.tick()
    assert latest(here) is RunState.failed_retry
    for name in ("good", "end"):
        (tmp_path / name).touch()
    here.clock.jump(seconds)
    assert len((await here.tick()).started) == starts
    assert latest(here) is (RunState.in_review if starts else RunState.failed_retry)
