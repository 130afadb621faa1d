"""A model's quota that is used up: everything of that profile waits for the reset, by itself and at no charge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dbos
import pytest_asyncio
from sqlalchemy import func, select

from agentd.model import Decision, Profile
from agentd.practice import PracticeGitHub
from agentd.run import engine, workflow
from agentd.states import RunState
from agentd.store import holds, runs, schema
from agentd.store.connection import open_store
from agentd.store.holds import profile_scope
from agentd.supervisor.tick import Memory
from tests.e2e.conftest import REPO
from tests.e2e.inside import Inside, inside

CLAUDE = """#!/bin/sh
if test "$1" = --help; then
    echo --print --output-format --permission-mode --allowedTools --setting-sources
elif test -e {quota}; then
    echo '{{"type": "rate_limit_event", "rate_limit_info": {{"status": "rejected", "resetsAt": '$(cat {quota})'}}}}'
    echo '{{"type": "result", "subtype": "success", "is_error": true, "api_error_status": 429, "result": "limit"}}'
    exit 1
else
    cat > work.txt
    echo '{{"type": "result", "subtype": "success", "is_error": false, "result": "done"}}'
fi
"""
"""Speaks as Claude Code does; without a quota as long as the file is there that says when it has one again."""


@pytest_asyncio.fixture
async def here(hub: PracticeGitHub, tmp_path: Path) -> AsyncIterator[Inside]:
    """An installation whose profile `claude` has that program, beside the usual profile `build`."""
    made = inside(hub, REPO, tmp_path / "inside")
    program = tmp_path / "claude"
    program.write_text(CLAUDE.format(quota=tmp_path / "quota"))
    program.chmod(0o755)
    claude = Profile(name="claude", adapter="claude", command=(str(program),))
    settings = made.context.settings
    # It looks at a file of the host.
    changed = {"profiles": settings.profiles | {"claude": claude}, "sandbox": "none"}
    made.context = replace(made.context, settings=settings.model_copy(update=changed))
    workflow.use(made.context)
    await engine.launch(made.context)
    yield made
    made.context.close_gateways()
    dbos.DBOS.destroy()
    made.close()


def restart(here: Inside) -> None:
    """What a new process would know: the state directory, and nothing else."""
    here.context.close_gateways()
    here.context.store.close()
    store = open_store("", here.context.settings.state_dir, here.clock)
    here.context, here.memory = replace(here.context, store=store), Memory()
    workflow.use(here.context)


def states(here: Inside) -> dict[str, RunState]:
    return {task_id: run.state for task_id, run in runs.latest_by_task(here.context.store).items()}


def charged(here: Inside) -> int:
    query = select(func.count()).select_from(schema.attempts).where(schema.attempts.c.cleared == 0)
    with here.context.store.read() as connection:
        return int(connection.execute(query).scalar_one())


async def test_everything_of_the_profile_waits_for_the_reset(here: Inside, hub: PracticeGitHub, tmp_path: Path) -> None:
    labels = ["agent-ready", "status:todo"]
    for number in (1, 2):
        assert hub.create_issue(REPO, "Do it", "text", [*labels, "profile:claude"], author="alice") == number
    reset = (here.clock.now() + timedelta(minutes=10)).replace(microsecond=0)
    (tmp_path / "quota").write_text(str(int(reset.timestamp())))
    assert len((await here.tick()).started) == 2
    assert states(here) == {"issue-1": RunState.failed_retry, "issue-2": RunState.failed_retry}
    hold = holds.holds(here.context.store)[profile_scope("claude")]
    assert hold.rule_id == "model_quota"
    assert hold.retry_at is not None
    assert reset <= hold.retry_at <= reset + timedelta(minutes=2), "not all installations come back in one moment"
    reset = hold.retry_at
    assert charged(here) == 0

    hub.create_issue(REPO, "One more", "text", [*labels, "profile:claude"], author="alice")
    hub.create_issue(REPO, "Another agent's", "text", labels, author="alice")
    started, looks = await look_until(here, reset)
    assert started == ["issue-4"], "only the other profile goes on"
    assert looks >= 15
    assert states(here)["issue-4"] is RunState.in_review
    (tmp_path / "quota").unlink()
    assert (await here.tick()).started == [], "that the quota is there earlier cannot be known"
    assert charged(here) == 1

    here.clock.jump(90)
    resumed = [run.task_id for _ in range(2) for run in (await here.tick()).started]
    assert resumed == ["issue-1", "issue-2", "issue-3"]
    assert states(here) == dict.fromkeys(("issue-1", "issue-2", "issue-3", "issue-4"), RunState.in_review)
    assert charged(here) == 4


async def look_until(here: Inside, reset: datetime) -> tuple[list[str], int]:
    """Ticks every half minute until just before the reset, with a restart in the middle: (started, ticks)."""
    started: list[str] = []
    looks = 0
    while here.clock.now() + timedelta(seconds=50) < reset:
        here.clock.jump(30)
        done = await here.tick()
        started += [run.task_id for run in done.started]
        held = {candidate.task.task_id: candidate.verdict for candidate in done.candidates}
        for task_id in ("issue-1", "issue-2", "issue-3"):
            verdict = held[task_id]
            assert (verdict.decision, verdict.rule_id, verdict.retry_at) == (Decision.hold, "model_quota", reset)
        looks += 1
        if looks == 8:
            restart(here)
    return started, looks
