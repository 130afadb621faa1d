"""How a run ended: its events are believed before its exit status."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import ADAPTERS, Outcome
from agentd.agents.codex_events import SANDBOX_BROKEN
from agentd.agents.events import Error
from agentd.agents.outcomes import from_status, from_text

TRANSCRIPTS = Path(__file__).parent / "transcripts"

RECORDED: list[tuple[str, int, str, bool]] = [
    # transcript, exit status, outcome, retryable
    ("claude-edit.jsonl", 0, "success", False),
    ("claude-401.jsonl", 1, "auth_error", False),
    ("claude-401.jsonl", 0, "auth_error", False),
    ("claude-429.jsonl", 1, "quota", True),
    ("claude-429.jsonl", 0, "quota", True),
    ("claude-garbage.jsonl", 1, "api_error", True),
    ("claude-no-key.jsonl", 1, "auth_error", False),
    ("claude-turns.jsonl", 1, "limit", False),
    ("claude-turns.jsonl", 0, "limit", False),
    ("claude-killed.jsonl", 143, "cancelled", True),
    ("claude-killed.jsonl", -9, "failed", True),
    ("claude-killed.jsonl", 0, "failed", True),
    ("codex-edit.jsonl", 0, "success", False),
    ("codex-edit.jsonl", 1, "success", False),
    ("codex-401.jsonl", 1, "auth_error", False),
    ("codex-401.jsonl", 0, "auth_error", False),
    ("codex-429.jsonl", 1, "quota", True),
    ("codex-500.jsonl", 1, "api_error", True),
    ("codex-500.jsonl", 0, "api_error", True),
    ("codex-garbage.jsonl", 1, "api_error", True),
    ("codex-no-key.jsonl", 1, "auth_error", False),
    ("codex-killed.jsonl", -15, "cancelled", True),
    ("codex-killed.jsonl", 0, "failed", True),
    ("deepagents-edit.txt", 0, "success", False),
    ("deepagents-quiet.txt", 0, "success", False),
    ("deepagents-quiet.txt", 1, "failed", True),
    ("deepagents-401.txt", 1, "auth_error", False),
    ("deepagents-401.txt", 0, "auth_error", False),
    ("deepagents-timeout.txt", 124, "timeout", True),
    ("deepagents-timeout.txt", 143, "cancelled", True),
]


def outcome_of(adapter: str, lines: list[bytes], exit_status: int, stderr: str = "") -> Outcome:
    parser = ADAPTERS[adapter].parser()
    for line in lines:
        parser.feed(line)
    return parser.close(exit_status, stderr)


@pytest.mark.parametrize(("name", "exit_status", "kind", "retryable"), RECORDED)
def test_recorded_runs(name: str, exit_status: int, kind: str, retryable: bool) -> None:
    lines = (TRANSCRIPTS / name).read_bytes().splitlines()
    outcome = outcome_of(name.split("-")[0], lines, exit_status)
    assert (outcome.kind, outcome.retryable) == (kind, retryable)
    assert (outcome.message == "") == (kind == "success" and exit_status == 0)


@pytest.mark.parametrize("adapter", sorted(set(ADAPTERS) - {"command"}))
def test_saying_nothing_is_no_success_whatever_the_exit_status(adapter: str) -> None:
    assert outcome_of(adapter, [], 0).kind == "failed"


@pytest.mark.parametrize(
    ("exit_status", "kind"), [(0, "success"), (1, "failed"), (-15, "cancelled"), (130, "cancelled"), (137, "failed")]
)
def test_a_command_is_judged_by_its_exit_status_alone(exit_status: int, kind: str) -> None:
    outcome = outcome_of("command", [b"Error: HTTP 401"], exit_status, "line\nlast words\n")
    assert outcome.kind == kind
    if exit_status == 1:
        assert outcome.message == "exit status 1: last words"


def result(**fields: Any) -> bytes:
    return json.dumps({"type": "result", "subtype": "success", "is_error": True} | fields).encode()


def test_claude_says_success_and_means_an_api_error() -> None:
    outcome = outcome_of("claude", [result(api_error_status=529, result="Overloaded")], 0)
    assert (outcome.kind, outcome.retryable, outcome.message) == ("api_error", True, "Overloaded")


def test_claude_names_the_time_its_subscription_is_served_again() -> None:
    outcome = outcome_of("claude", [result(result="Claude AI usage limit reached|1800000000")], 1)
    assert (outcome.kind, outcome.retryable) == ("quota", True)
    assert outcome.retry_at == datetime.fromtimestamp(1_800_000_000, UTC)


def test_claude_rate_limit_window_outlives_the_vaguer_result() -> None:
    info = {"status": "rejected", "resetsAt": 1_800_000_000, "rateLimitType": "five_hour"}
    event = json.dumps({"type": "rate_limit_event", "rate_limit_info": info}).encode()
    outcome = outcome_of("claude", [event, result(api_error_status=429, result="limit")], 1)
    assert outcome.kind == "quota"
    assert outcome.retry_at == datetime.fromtimestamp(1_800_000_000, UTC)


def test_codex_goes_on_after_its_sandbox_failed_every_command_and_exits_with_0() -> None:
    output = "bwrap: execvp codex-linux-sandbox: No such file or directory"
    item = {"id": "i", "type": "command_execution", "command": "ls", "aggregated_output": output, "exit_code": 1}
    said = {"type": "item.completed", "item": {"id": "j", "type": "agent_message", "text": "done"}}
    lines = [{"type": "item.completed", "item": item}, said, {"type": "turn.completed", "usage": {}}]
    outcome = outcome_of("codex", [json.dumps(line).encode() for line in lines], 0)
    assert (outcome.kind, outcome.message) == ("failed", SANDBOX_BROKEN.message)


def opencode(kind: str, **part: Any) -> bytes:
    return json.dumps({"type": kind, "sessionID": "ses_1", "part": part}).encode()


@pytest.mark.parametrize(("exit_status", "kind"), [(0, "success"), (1, "failed"), (-9, "failed"), (143, "cancelled")])
def test_an_agent_that_breaks_off_after_a_compaction_has_not_ended(exit_status: int, kind: str) -> None:
    tool = {"tool": "bash", "callID": "c", "state": {"status": "completed", "input": {}, "output": ""}}
    compacted = [opencode("text", text="## Goal"), opencode("step_finish", reason="stop", tokens={})]
    assert outcome_of("opencode", [*compacted, opencode("tool_use", **tool)], exit_status).kind == kind
    ended = [opencode("tool_use", **tool), *compacted]
    assert outcome_of("opencode", ended, exit_status).kind == "success"


@pytest.mark.parametrize(
    ("said", "kind"),
    [("✅ Task completed", "failed"), ("## Task completed", "failed"), ("✓ Task completed", "success")],
)
def test_a_model_that_calls_its_task_completed_has_not_ended(said: str, kind: str) -> None:
    lines = [said.encode(), "🔧 Calling tool: execute".encode(), b"Agent error: ValueError: x"]
    assert outcome_of("deepagents", lines, 1).kind == kind


def test_deepagents_that_a_hook_stops_has_not_ended_well_though_it_exits_with_0() -> None:
    lines = [b"I begin.", b"Operation stopped by hook: not on a Friday"]
    assert outcome_of("deepagents", lines, 0).kind == "failed"


def test_deepagents_dying_of_a_timeout_under_load_may_be_tried_again() -> None:
    outcome = outcome_of("deepagents", ["✓ Server ready".encode(), b"Agent error: TimeoutError: "], 1)
    assert (outcome.kind, outcome.retryable) == ("api_error", True)


def test_deepagents_errors_on_standard_error_are_read_too() -> None:
    stderr = "Warning: x\n\nAgent error: OpenAIRateLimitError: An internal error occurred\n"
    assert outcome_of("deepagents", [], 1, stderr).kind == "quota"


def test_an_agent_killed_while_it_repeats_a_refused_call_is_known_by_that_call() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 3, "retry_delay_ms": 1000, "error_status": 429}
    assert outcome_of("claude", [json.dumps(retry).encode()], 1).kind == "quota"
    assert outcome_of("claude", [json.dumps(retry).encode()], -15).kind == "cancelled"


@pytest.mark.parametrize(
    ("status", "message", "kind", "retryable"),
    [
        (401, "", "auth_error", False),
        (403, "", "auth_error", False),
        (402, "", "quota", False),
        (429, "", "quota", True),
        (429, "You exceeded your current quota", "quota", False),
        (400, "Your credit balance is too low", "quota", False),
        (400, "bad field", "api_error", False),
        (404, "no such model", "api_error", False),
        (500, "", "api_error", True),
        (529, "", "api_error", True),
    ],
)
def test_http_statuses(status: int, message: str, kind: str, retryable: bool) -> None:
    error = from_status(status, message)
    assert (error.kind, error.retryable, bool(error.message)) == (kind, retryable, True)


def test_a_wait_in_words_is_read() -> None:
    otherwise = Error("failed", "?")
    assert from_text("Rate limit reached. Please try again in 1.5s.", otherwise).retry_after_seconds == 1.5
    assert from_text("rate limit: retry after 3 minutes", otherwise).retry_after_seconds == 180
    assert from_text("rate limit: try again in 250ms", otherwise).retry_after_seconds == 0.25


def test_a_wait_of_several_lengths_is_added_up() -> None:
    otherwise = Error("failed", "?")
    for said, seconds in (("1m12.5s", 72.5), ("1h30m", 5400), ("3 days 4 hours 5 minutes.", 273_900), ("6m0s.", 360)):
        assert from_text(f"rate limit: Please try again in {said}", otherwise).retry_after_seconds == seconds
    assert from_text("rate limit: try again in 5 moments", otherwise).retry_after_seconds is None


OPENAI = (
    "Rate limit reached for gpt-5 on tokens per min (TPM): Limit 10000, Used 9000. Please try again in 6s. Visit {0}"
)
OPENAI_PAGE = "https://platform.openai.com/account/billing to add a payment method."
GEMINI = "You exceeded your current quota, please check your plan and billing details. Please retry in 34.5s."
SPENT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."


@pytest.mark.parametrize(
    ("message", "kind", "retryable"),
    [
        # Codex 0.169
        ("Your workspace is out of credits. Add credits to continue.", "quota", False),
        ("You hit your spend cap set in your workspace. Increase your spend cap to continue.", "quota", False),
        ("You've hit your usage limit. Try again at 3:05 PM.", "quota", True),
        ("Selected model is at capacity. Please try a different model.", "api_error", True),
        # Claude Code 2.1
        ("You've hit your session limit · resets 3pm (Europe/Berlin)", "quota", True),
        ("You've hit your Opus limit · resets Dec 3, 9am (UTC)", "quota", True),
        ("You've hit your monthly spend limit.", "quota", False),
        ("You're out of usage credits · resets Dec 1", "quota", False),
        # Services
        (OPENAI.format(OPENAI_PAGE), "quota", True),
        ("API Error: 429 " + OPENAI.format(OPENAI_PAGE), "quota", True),
        ("API Error: 429 " + GEMINI, "quota", True),
        ("API Error: 400 " + SPENT, "quota", True),
        ("API Error: 403 Key limit exceeded (daily limit)", "quota", False),
        ("API Error: 403 Forbidden", "auth_error", False),
    ],
)
def test_what_agents_and_services_say_of_limits(message: str, kind: str, retryable: bool) -> None:
    error = from_text(message, Error("failed", "?"))
    assert (error.kind, error.retryable) == (kind, retryable)


def test_the_day_on_which_a_spent_limit_opens_again_is_read() -> None:
    assert from_status(400, SPENT).retry_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert from_status(400, SPENT.replace("12-01", "13-01")).retry_at is None


def test_a_message_stays_short() -> None:
    assert len(outcome_of("claude", [result(result="x" * 10**6)], 1).message) < 3_000
