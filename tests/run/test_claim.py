"""Claims of one installation whose processes stop and go on at the wrong moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.config_tables import ClaimSettings
from agentd.errors import ClaimLost
from agentd.git.naming import claim_ref
from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.run.claim import take
from agentd.store import claims
from tests.e2e.conftest import FILES, REPO
from tests.e2e.inside import Inside, inside
from tests.e2e.test_restart import wait_for

TASK = "P0-01"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "github" / f"{REPO}.git"


@pytest.fixture
def here(remote: Path, tmp_path: Path) -> Iterator[Inside]:
    with PracticeGitHub(tmp_path / "github") as hub:
        for login in ("alice", "agentd-bot"):
            hub.add_user(login)
        hub.add_repo(REPO, files=FILES)
        hub.grant(REPO, "agentd-bot", "write")
        made = inside(hub, REPO, tmp_path / "home")
        yield made
        made.close()


def claims_on(remote: Path) -> list[str]:
    return git("for-each-ref", "--format=%(refname) %(objectname)", "refs/agentd/claims", git_dir=remote).splitlines()


def test_a_claim_of_a_process_that_is_stale_by_now_is_taken_over_though_it_came_after_the_last_look(
    here: Inside, remote: Path
) -> None:
    take(here.context, TASK, "run")
    holding = take(here.context, TASK, "run")
    assert claims_on(remote) == [f"{claim_ref(TASK)} {holding.claim.remote_sha}"]
    asyncio.run(holding.release())
    assert claims_on(remote) == []


def test_a_claim_that_is_stale_before_it_is_on_the_remote_does_not_stay_there(
    here: Inside, remote: Path, tmp_path: Path
) -> None:
    pushing, go = tmp_path / "pushing", tmp_path / "go"
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {pushing}\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)

    def meanwhile() -> None:
        wait_for(pushing.exists)
        try:
            wait_for(lambda: claims.acquire(here.context.store, TASK, "other", "run", lease_seconds=90))
        finally:
            go.touch()

    other = threading.Thread(target=meanwhile)
    other.start()
    settings = here.context.settings.model_copy(update={"claim": ClaimSettings(lease_seconds=0.5)})
    with pytest.raises(ClaimLost, match="generation 1 was taken over"):
        take(replace(here.context, settings=settings), TASK, "run")
    other.join()
    assert claims_on(remote) == []
