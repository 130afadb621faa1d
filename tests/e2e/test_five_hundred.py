"""Five hundred open issues: what looking at them costs in requests, and that none of them is overlooked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentd.practice import PracticeGitHub, RequestRecord
from tests.e2e.conftest import FILES, REPO, Installation
from tests.e2e.test_restart import wait_for

ISSUES = 500
LIST = f"/repos/{REPO}/issues"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[PracticeGitHub]:
    """All issues are an hour old and wait for a person."""
    ago = timedelta(hours=1)

    def clock() -> datetime:
        return datetime.now(UTC) - ago

    with PracticeGitHub(tmp_path / "github", clock=clock) as made:
        for name in ("alice", "agentd-bot"):
            made.add_user(name)
        made.add_repo(REPO, files=FILES)
        made.grant(REPO, "agentd-bot", "write")
        for number in range(1, ISSUES + 1):
            made.create_issue(REPO, f"Number {number}", "Make done.txt.", ["agent-ready", "status:blocked"])
        ago = timedelta()
        yield made


def asked(hub: PracticeGitHub) -> list[RequestRecord]:
    """The supervisor's requests so far."""
    return [record for record in list(hub.log) if record.user == "agentd-bot"]


def full_reads(records: list[RequestRecord]) -> list[RequestRecord]:
    """Requests for a page of all issues; the addresses of later pages are the server's own (`/repositories/<id>`)."""
    return [record for record in records if record.path.endswith("/issues") and "labels=agent-ready" in record.query]


def unchanged(hub: PracticeGitHub) -> list[int]:
    """Where in `asked` it was answered that nothing has changed."""
    return [number for number, record in enumerate(asked(hub)) if (record.path, record.status) == (LIST, 304)]


def test_five_hundred_issues_cost_five_requests_once_and_a_free_one_each_idle_poll(
    here: Installation, hub: PracticeGitHub
) -> None:
    here.configure("poll_interval_seconds = 0.3\n")
    here.run("start")
    try:
        wait_for(lambda: len(unchanged(hub)) >= 4)
        told = asked(hub)
        first = unchanged(hub)[0]
        assert len(full_reads(told)) == 5
        idle = told[first:]
        assert {(record.method, record.path, record.status) for record in idle} == {("GET", LIST, 304)}
        assert not any(record.charged for record in idle)

        here.act("POST", "/issues/250/labels", {"labels": ["status:todo"]})
        here.act("DELETE", "/issues/250/labels/status:blocked")
        wait_for(lambda: "status:in-review" in here.labels(250))
    finally:
        here.run("stop", "--now")
    [pull] = here.pulls()
    assert pull["title"] == "[issue-250] Number 250"
    assert len(full_reads(asked(hub))) == 5
