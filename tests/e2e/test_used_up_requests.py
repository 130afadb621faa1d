"""A quota of GitHub's that is used up already when agentd starts: it waits, and does not end."""

from __future__ import annotations

from agentd.practice import PracticeGitHub
from tests.e2e.conftest import Installation
from tests.e2e.test_restart import wait_for


def test_a_supervisor_that_starts_without_requests_left_waits_for_them(here: Installation, hub: PracticeGitHub) -> None:
    here.issue()
    hub.set_rate_limit(remaining=0, reset_in=3600)
    assert "rate_limit_primary" in here.run("once", check=1)
    here.run("start")
    try:
        wait_for(lambda: "rate_limit_primary" in here.run("status"), 10)
        assert here.status()["supervisor"]["running"]
    finally:
        here.run("stop")
