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
        wait_for(lambda: "rate_limit_primary" in here.run("status"))
        assert here.status()["supervisor"]["running"]
    finally:
        here.run("stop")


def test_a_quota_of_graphql_that_is_used_up_is_nothing_of_the_issue(here: Installation, hub: PracticeGitHub) -> None:
    number = here.issue()
    bucket = hub.world.limits.bucket("agentd-bot", "graphql", hub.world.now())
    bucket.used = bucket.limit
    here.run("once", check=1)
    [hold] = here.status()["holds"]
    assert (hold["scope"], hold["rule_id"]) == ("github", "github_unavailable")
    assert "API rate limit already exceeded" in hold["observed"]
    assert here.stickies(number) == []
