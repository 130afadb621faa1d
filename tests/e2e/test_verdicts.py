"""Every hold, deny and block of a supervisor and its runs is one Event, whoever decides it, and not one each tick."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dbos
import jsonschema
import pytest_asyncio

from agentd.github.comments import issue_comments
from agentd.github.issues import get_issue
from agentd.model import Decision, Profile, Verdict
from agentd.policy.gates import ToolCall, evaluate
from agentd.practice import PracticeGitHub
from agentd.run import engine, workflow
from agentd.run.claim import claimed
from agentd.run.desk import open_desk
from agentd.run.stages.start import fetch
from agentd.run.tools import ToolMeters
from agentd.states import RunState
from agentd.store import holds, ledger, runs
from agentd.supervisor.dispatch import admit_run
from agentd.supervisor.tasks import task_of
from tests.e2e.conftest import REPO, ROOT
from tests.e2e.inside import Inside, inside

SCHEMA = json.loads((ROOT / "schemas" / "agent-event.schema.json").read_text())
AGENTS = {
    "lazy": "cat > /dev/null",
    "broken": "cat > /dev/null; exit 3",
    "good": "cat > work.txt",
    "prying": "cat > /dev/null; mkdir -p .github/workflows; echo x > .github/workflows/a.yml",
}


@pytest_asyncio.fixture
async def here(hub: PracticeGitHub, tmp_path: Path) -> AsyncIterator[Inside]:
    made = inside(hub, REPO, tmp_path / "inside")
    profiles = {name: Profile(name=name, adapter="command", command=("sh", "-c", AGENTS[name])) for name in AGENTS}
    settings = made.context.settings.model_copy(
        update={"profiles": profiles, "profile": "good", "sandbox": "none", "max_fix_rounds": 0, "max_parallel": 9}
    )
    made.context = replace(made.context, settings=settings)
    workflow.use(made.context)
    await engine.launch(made.context)
    yield made
    dbos.DBOS.destroy()
    made.close()


def decided(here: Inside) -> list[dict[str, Any]]:
    """Every verdict in the ledger, each a valid Event."""
    found = [json.loads(body) for _, body in ledger.events_after(here.context.store, 0)]
    for event in found:
        jsonschema.validate(event, SCHEMA)
    return [event for event in found if event["event_type"] == "policy_decided"]


def rules(here: Inside) -> Counter[tuple[str, str, str]]:
    return Counter((each["task_id"], each["data"]["rule_id"], each["data"]["verdict"]) for each in decided(here))


def issue(hub: PracticeGitHub, title: str, *labels: str, author: str = "alice") -> int:
    return hub.create_issue(REPO, title, "text", ["agent-ready", "status:todo", *labels], author=author)


async def test_why_tasks_wait_and_how_runs_end_is_told_once(here: Inside, hub: PracticeGitHub) -> None:
    issue(hub, "[P0-07] has no contract")
    issue(hub, "unknown", "profile:nobody")
    ends = {issue(hub, name, f"profile:{name}"): name for name in ("lazy", "broken", "prying", "good")}
    for _ in range(3):
        await here.tick()
    latest = runs.latest_by_task(here.context.store)
    assert {ends[run.issue_number]: run.state for run in latest.values()} == {
        "lazy": RunState.no_changes,
        "broken": RunState.failed_retry,
        "prying": RunState.halted,
        "good": RunState.in_review,
    }
    task = {name: f"issue-{number}" for number, name in ends.items()}
    assert rules(here) == Counter(
        {
            ("P0-07", "contract_missing", "hold"): 1,
            ("issue-2", "profile_unknown", "hold"): 1,
            (task["lazy"], "no_changes", "block"): 1,
            (task["broken"], "agent_failed", "hold"): 1,
            (task["broken"], "backoff", "hold"): 2,  # set by the run, and why the task waits
            (task["prying"], "protected_path", "deny"): 1,
            (task["prying"], "diff_refused", "halt"): 1,
        }
    )
    reasons = {ends[run.issue_number]: (run.failure_mode, run.terminal_reason) for run in latest.values()}
    assert reasons == {
        "lazy": ("", "not_accepted"),
        "broken": ("catalogued_unhandled", "failure_mode_terminal"),
        "prying": ("", "policy_denial_terminal"),
        "good": ("", "final_answer"),
    }
    for number, name in ends.items():
        bodies = [each.body for each in issue_comments(here.context.github, number)]
        assert ("Ended by the rule" in "".join(bodies)) == (name != "good"), name


async def test_verdicts_about_everything_and_of_operators_are_events(here: Inside, hub: PracticeGitHub) -> None:
    waiting = issue(hub, "waits")
    pause = Verdict(
        control="operator", rule_id="paused", decision=Decision.hold, scope=holds.PAUSE, observed="paused: lunch"
    )
    for _ in range(2):
        here.context.hold(pause, source="supervisor")
        await here.tick()
    hub.fault("GET", "/repos/alice/widget/issues", status=502, times=50)
    for _ in range(2):
        await here.tick()
    assert rules(here) == Counter(
        {
            ("repository", "paused", "hold"): 1,
            (f"issue-{waiting}", "paused", "hold"): 1,
            ("repository", "github_unavailable", "hold"): 1,
        }
    )
    assert {each["status"] for each in decided(here)} == {"skipped"}


async def test_a_run_that_is_ended_or_has_lost_its_claim_may_call_no_tool(here: Inside, hub: PracticeGitHub) -> None:
    context, number = here.context, issue(hub, "works")
    found = get_issue(context.github, number)
    task = task_of(found, {}, context.settings)
    run = admit_run(context, task, context.settings.profile_named("good"), found.html_url)
    assert run is not None
    desk = open_desk(context, run.run_id)
    await fetch(desk)
    call = ToolCall("read_file", {"path": "a"})

    def rule() -> str:
        verdict = evaluate(meters.gates, call, meters(call), meters.scope)
        return verdict.rule_id if verdict else ""

    async with claimed(context, task.task_id, run.run_id) as holding:
        meters = ToolMeters(desk.with_claim(holding))
        assert [meters(call).repeats for _ in range(3)] == [0, 1, 2]
        assert rule() == ""
        context.cancels[run.run_id] = "the issue was closed"
        assert rule() == "kill_switch"
        del context.cancels[run.run_id]
        holding.lost = "taken over"
        assert rule() == "revoked"
        holding.lost = ""
        assert rule() == ""
    assert [each.repeats for each in (ToolMeters(desk.with_claim(holding))(call),)] == [7], "counted over the run"


def test_what_a_verdict_says_is_bounded_and_holds_no_secret(hub: PracticeGitHub, tmp_path: Path) -> None:
    here = inside(hub, REPO, tmp_path / "inside")
    token = here.context.settings.token.get_secret_value()
    here.context.hold(
        Verdict(
            control="github",
            rule_id="github_refused",
            decision=Decision.hold,
            scope="github",
            observed=f"with {token} \x1b[31m" + "x" * 5000,
            evidence=(token,) * 50,
        )
    )
    [event] = decided(here)
    text = json.dumps(event)
    assert token not in text and "***REDACTED***" in text and "\\u001b" not in text
    assert len(event["data"]["reason"]) == 1000 and len(event["data"]["evidence"]) == 20
