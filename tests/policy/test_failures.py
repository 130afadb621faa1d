"""The failure catalogue: the classifier's order, and that every rule that ends a run is in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import agentd
from agentd.policy.failures import ENDINGS, FailureMode, TerminalReason, classify, terminal_reason

SOURCES = Path(agentd.__file__).parent


@pytest.mark.parametrize(
    ("rule", "denied", "retries", "mode"),
    [
        ("", (), (), None),
        ("", (), ("success",), None),
        ("", (), ("transient_failure", "success"), FailureMode.tool_call_failure),
        ("", ("arg_schema",), ("transient_failure",), FailureMode.schema_mismatch),
        ("", ("url_allowlist", "tool_registry", "sandbox_path"), (), None),
        ("agent_failed", (), (), FailureMode.catalogued_unhandled),
        ("agent_failed", (), ("transient_failure",), FailureMode.catalogued_unhandled),
        ("agent_failed", (), ("transient_failure", "exhausted"), FailureMode.retry_exhaustion),
        ("agent_failed", ("cycle_detection",), ("exhausted",), FailureMode.cycle_detection),
        ("retry_exhausted", (), (), FailureMode.retry_exhaustion),
        ("cycle_detection", ("arg_schema",), (), FailureMode.cycle_detection),
        ("alternating-diff-fingerprint", (), (), FailureMode.cycle_detection),
        ("agent_silent", ("arg_schema",), (), FailureMode.agent_stall),
        ("budget_day_usd", (), (), FailureMode.budget_exhausted),
        ("agent_interrupted", (), (), FailureMode.lease_lost),
        ("model_failed", (), (), FailureMode.upstream_unavailable),
        ("model_failed", (), ("transient_failure", "exhausted"), FailureMode.retry_exhaustion),
        ("model_credential", (), ("exhausted",), FailureMode.upstream_unavailable),
        ("branch_moved", (), (), FailureMode.publish_conflict),
        ("verify_failed", (), (), None),
        ("never heard of", (), (), FailureMode.catalogued_unhandled),
    ],
)
def test_what_failed(rule: str, denied: tuple[str, ...], retries: tuple[str, ...], mode: FailureMode | None) -> None:
    assert classify(rule, denied, retries) == mode


def test_why_it_ended() -> None:
    assert terminal_reason("") is TerminalReason.final_answer
    assert terminal_reason("budget_run_tokens") is TerminalReason.loop_budget
    assert terminal_reason("cycle_detection") is TerminalReason.policy_denial_terminal
    assert terminal_reason("agent_silent") is TerminalReason.failure_mode_terminal
    assert terminal_reason("agent_silent", used_up=True) is TerminalReason.retry_exhausted
    assert terminal_reason("model_failed", FailureMode.retry_exhaustion) is TerminalReason.retry_exhausted
    assert terminal_reason("cancelled") is TerminalReason.cancelled


def test_the_catalogue_has_every_mode_and_every_reason_but_success() -> None:
    assert {each.mode for each in ENDINGS.values()} - {None} == set(FailureMode) - {
        FailureMode.tool_call_failure,  # a run that came through
        FailureMode.schema_mismatch,  # told to the agent, which goes on
    }
    assert {each.reason for each in ENDINGS.values()} == set(TerminalReason) - {TerminalReason.final_answer}


def test_every_end_of_a_run_names_a_rule_of_the_catalogue() -> None:
    ends = 0
    for path in sorted(SOURCES.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not call.args or getattr(call.func, "id", "") != "RunEnd":
                continue
            ends += 1
            [rule] = [each.value for each in call.keywords if each.arg == "rule"]
            state = getattr(call.args[0], "attr", None)
            if isinstance(rule, ast.Constant):
                assert rule.value in ENDINGS, f"{path.name}: {rule.value}"
                assert state == ENDINGS[rule.value].state, f"{path.name}: {rule.value} ends in {state}"
    assert ends > 35
