"""Denials and halts from the tool call to the issue: the Event, what the agent hears, the comment, the run's end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from agentd.practice.model import PER_PROMPT, ScriptedModel
from tests.e2e.conftest import Installation

REPORT = {"summary": "done", "files_changed": ["done.txt"], "commands_verified": ["true"]}
DONE: list[dict[str, Any]] = [
    {"write": {"path": "done.txt", "content": "done\n"}},
    {"call": {"name": "report", "input": REPORT}},
]
POLICY = """\
tool_registry: {denied: [list_files]}
url_allowlist: [docs.example]
cycle_detection: {max_repeats: 2}
loop_budget: {max_iterations: 12}
"""


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


def call(name: str, **given: Any) -> dict[str, Any]:
    return {"call": {"name": name, "input": given}}


def played(here: Installation, model: ScriptedModel, script: list[dict[str, Any]], policy: str = POLICY) -> Any:
    """A run of the built-in agent with this script and policy, as `agentd once` tells it."""
    base = model.base_url(PER_PROMPT, "work")
    model.script("work", script)
    here.environ |= {"ANTHROPIC_BASE_URL": base, "ANTHROPIC_API_KEY": "practice-key"}
    (here.folder / "policy.yaml").write_text(policy)
    (here.folder / "agentd.toml").write_text(
        'verify_command = "sh check.sh"\nmax_fix_rounds = 0\npolicy = "policy.yaml"\n'
        '[profiles.build]\nadapter = "builtin"\nmodel = "anthropic:practice"\nshell_allow = ["sh", "rm"]\n'
    )
    here.issue()
    [run] = here.once(check=None)["runs"]
    return run


def decided(here: Installation) -> list[dict[str, Any]]:
    lines = (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event_type"] == "policy_decided"]


def shown(here: Installation, run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(here.run("runs", "show", run["run_id"], "--json"))
    return found


def spans(here: Installation, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The attributes of each span of the run's trace, the root first."""
    path = here.folder / ".agentd" / "state" / "runs" / run["run_id"] / "evidence" / "trace.json"
    [resource] = json.loads(path.read_text())["resourceSpans"]
    [scope] = resource["scopeSpans"]
    found = [{a["key"]: next(iter(a["value"].values())) for a in span["attributes"]} for span in scope["spans"]]
    return sorted(found, key=lambda each: "agent.terminal_reason" not in each)


def denials(here: Installation, run: dict[str, Any]) -> set[str]:
    """Rules of the deny spans."""
    return {
        str(each["agent.policy.rule_id"]) for each in spans(here, run) if each.get("agent.policy.decision") == "deny"
    }


def test_denied_calls_are_events_and_the_agent_goes_on(here: Installation, model: ScriptedModel) -> None:
    script = [
        call("list_files"),
        call("read_file", path=3),
        call("fetch", url="https://evil.example/x"),
        call("write_file", path="link.sh", content="ln -s /etc escape; rm link.sh"),
        {"shell": "sh link.sh"},
        call("write_file", path="escape/cron", content="x"),
        call("write_file", path="../outside", content="x"),
        {"shell": "curl https://evil.example"},
        {"shell": "sh -c 'rm escape'"},
        *DONE,
    ]
    run = played(here, model, script)
    assert run["state"] == "in_review", run["reason"]
    found = {event["data"]["rule_id"]: event for event in decided(here)}
    assert {rule: (event["data"]["verdict"], event["status"]) for rule, event in found.items()} == dict.fromkeys(
        ("tool_registry", "arg_schema", "url_allowlist", "sandbox_path", "command_policy"), ("deny", "failed")
    )
    assert denials(here, run) == set(found)
    said = {rule: json.dumps(event["data"]) for rule, event in found.items()}
    assert "registry_match=denied" in said["tool_registry"] and "list_files" in said["tool_registry"]
    assert "/path: 3 is not of type" in said["arg_schema"]
    assert "host=evil.example" in said["url_allowlist"]
    assert "curl" in said["command_policy"]
    paths = [json.dumps(event["data"]) for event in decided(here) if event["data"]["rule_id"] == "sandbox_path"]
    assert "resolved_path=/etc/cron" in paths[0] and "target_path=/outside" in paths[1]
    heard = [str(request.body) for request in model.requests()][-1]
    assert heard.count("denied by the policy: ") == 6
    ended = shown(here, run)
    assert (ended["failure_mode"], ended["terminal_reason"]) == ("schema_mismatch", "final_answer")


def test_a_tier_that_may_only_read_is_kept_to_it(here: Installation, model: ScriptedModel) -> None:
    script = [{"shell": "touch done.txt"}, {"write": {"path": "done.txt", "content": "x"}}, DONE[-1]]
    run = played(here, model, script, "tier: T1")
    assert run["state"] == "no_changes", run["reason"]
    assert [event["data"]["rule_id"] for event in decided(here)].count("tier") == 2
    assert "tier" in denials(here, run)


def test_a_model_that_is_ill_for_a_moment_is_asked_again_as_the_policy_says(
    here: Installation, model: ScriptedModel
) -> None:
    retry = "retry: {max_retries: 2, backoff_base_ms: 10, backoff_cap_ms: 20}"
    run = played(here, model, [{"status": 500}, {"status": 500}, *DONE], retry)
    assert run["state"] == "in_review", run["reason"]
    with closing(sqlite3.connect(here.folder / ".agentd" / "state" / "agentd.db")) as store:
        query = "SELECT attempt, state, summary FROM steps WHERE kind = 'retry_attempt' ORDER BY started_at, attempt"
        tries = store.execute(query).fetchall()
    assert tries == [
        (1, "failed", "transient_failure"),
        (2, "failed", "transient_failure"),
        (3, "ok", "success"),
    ]
    ended = shown(here, run)
    assert (ended["failure_mode"], ended["terminal_reason"]) == ("tool_call_failure", "final_answer")


def test_a_model_that_stays_ill_ends_the_run(here: Installation, model: ScriptedModel) -> None:
    retry = "retry: {max_retries: 1, backoff_base_ms: 10, backoff_cap_ms: 20}"
    run = played(here, model, [{"status": 500}] * 9, retry)
    assert run["state"] == "failed_retry"
    assert len(model.requests()) == 2
    ended = shown(here, run)
    assert (ended["failure_mode"], ended["terminal_reason"]) == ("retry_exhaustion", "retry_exhausted")
