"""The list of issues is older than what has happened since: nothing is written that only the list asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import dbos
import pytest_asyncio

from agentd.github.issues import close_issue, get_issue
from agentd.github.labels import set_status
from agentd.practice import PracticeGitHub
from agentd.run import engine
from agentd.supervisor.reconcile import free_stranded
from agentd.supervisor.world import observe
from tests.e2e.conftest import REPO
from tests.e2e.inside import Inside, inside


@pytest_asyncio.fixture
async def here(hub: PracticeGitHub, tmp_path: Path) -> AsyncIterator[Inside]:
    made = inside(hub, REPO, tmp_path / "inside")
    await engine.launch(made.context)
    yield made
    dbos.DBOS.destroy()
    made.close()


async def test_an_issue_that_was_closed_since_is_not_put_back_to_todo(here: Inside, hub: PracticeGitHub) -> None:
    gh = here.context.github
    closed, left = (
        hub.create_issue(REPO, title, "text", ["agent-ready", "status:in-progress"], author="alice")
        for title in ("Merged meanwhile", "Left behind")
    )
    world = observe(here.context)
    close_issue(gh, closed)
    set_status(gh, closed, None)
    assert free_stranded(here.context, world)
    assert "status:todo" not in get_issue(gh, closed).labels
    assert "status:todo" in get_issue(gh, left).labels
