"""A run as spans: who is whose parent, what each says, and that the same record always gives the same spans."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter

from agentd.model import Event
from agentd.states import RunState
from agentd.trace import names
from agentd.trace.otlp import resource_of, to_json
from agentd.trace.span import Span, trace_id_of, traceparent
from agentd.trace.spans import spans_of
from tests.traces import RUN, a_record


def by_name(spans: list[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found


def test_everything_hangs_where_it_happened() -> None:
    spans = spans_of(a_record())
    named, ids = by_name(spans), {span.span_id: span.name for span in spans}
    parents = {(span.name, ids.get(span.parent_id, "")) for span in spans}
    assert parents == {
        ("invoke_workflow implement-issue", ""),
        ("stage agent-0", "invoke_workflow implement-issue"),
        ("invoke_agent build", "stage agent-0"),
        ("chat claude-x", "invoke_agent build"),
        ("execute_tool Bash", "invoke_agent build"),
        ("run_guardrail url_allowlist", "invoke_agent build"),
        ("run_guardrail tool_registry", "invoke_agent build"),
        ("run_guardrail loop_budget", "invoke_agent build"),
        ("stage verify-0", "invoke_workflow implement-issue"),
        ("run_guardrail budget_day", "invoke_workflow implement-issue"),
    }
    assert len(ids) == len(spans) == 12
    assert [span.name for span in spans][:3] == [
        "invoke_workflow implement-issue",
        "stage agent-0",
        "invoke_agent build",
    ]
    seen: set[str] = set()
    for span in spans:
        assert span.parent_id in seen or not span.parent_id
        seen.add(span.span_id)
    assert len(named["execute_tool Bash"]) == 3


def test_the_counts_that_readers_of_older_traces_make() -> None:
    kinds = Counter(span.attributes[names.SPAN_KIND] for span in spans_of(a_record()))
    assert kinds == {"run": 1, "stage": 2, "agent_step": 1, "llm_call": 1, "tool_call": 3, "policy_check": 4}


def test_the_root_says_why_the_run_ended() -> None:
    root = spans_of(a_record())[0]
    assert root.attributes["agent.terminal_reason"] == "loop_budget"
    assert root.attributes["agent.failure_mode"] == "budget_exhausted"
    assert (root.status, root.message) == ("error", "the budget is used up")
    good = spans_of(a_record(RunState.in_review))[0]
    assert (good.status, good.attributes["agent.terminal_reason"]) == ("ok", "final_answer")
    assert "agent.failure_mode" not in good.attributes
    assert spans_of(a_record(RunState.cancelled))[0].status == "unset"


def test_the_failing_span_names_the_class_of_its_exception() -> None:
    [failing] = by_name(spans_of(a_record()))["stage verify-0"]
    for name in ("agent.tool.exception_class", "exception.type", "error.type"):
        assert failing.attributes[name] == "GuardianDied"
    assert failing.status == "error"
    assert [(event.name, event.attributes[names.EVALUATION_LABEL]) for event in failing.events] == [
        ("gen_ai.evaluation.result", "failed")
    ]


def test_a_denial_and_a_halt_at_a_budget_are_spans_that_deny() -> None:
    named = by_name(spans_of(a_record()))
    for rule, decision in (("url_allowlist", "deny"), ("loop_budget", "halt")):
        [span] = named[f"run_guardrail {rule}"]
        assert span.attributes["agent.policy.rule_id"] == rule
        assert span.attributes["agent.policy.decision"] == "deny"
        assert span.attributes["agentd.verdict.decision"] == decision
        assert span.status == "error"
    halt = named["run_guardrail loop_budget"][0].attributes
    assert (halt["agentd.halt.limit"], halt["agentd.halt.observed"]) == ("250", "loop_budget it is")
    [allowed] = named["run_guardrail tool_registry"]
    assert (allowed.attributes["agent.policy.decision"], allowed.status) == ("allow", "ok")
    [held] = named["run_guardrail budget_day"]
    assert (held.attributes["agent.policy.decision"], held.status) == ("hold", "ok")
    denied = [span for span in named["execute_tool Bash"] if span.status == "error"]
    assert [span.attributes["error.type"] for span in denied] == ["policy_denied"]


def test_an_interrupted_step_ends_with_its_parent() -> None:
    turn = by_name(spans_of(a_record()))["invoke_agent build"][0]
    open_call = by_name(spans_of(a_record()))["execute_tool Bash"][2]
    assert (open_call.end_ns, open_call.status) == (turn.end_ns, "unset")


def test_a_clock_that_was_set_back_makes_no_span_of_negative_length() -> None:
    record = a_record()
    steps = tuple(step.model_copy(update={"ended_at": record.run.started_at}) for step in record.steps)
    assert all(span.end_ns >= span.start_ns for span in spans_of(dataclasses.replace(record, steps=steps)))


def test_the_same_record_gives_the_same_trace_in_whatever_order_it_is_read() -> None:
    record = a_record()
    turned = dataclasses.replace(record, steps=tuple(reversed(record.steps)))
    assert {span.span_id for span in spans_of(turned)} == {span.span_id for span in spans_of(record)}
    assert to_json(spans_of(record), resource_of("1")) == to_json(spans_of(a_record()), resource_of("1"))
    assert trace_id_of(RUN) == hashlib.sha256(RUN.encode()).digest()[:16].hex()
    assert traceparent(RUN, "00f067aa0ba902b7") == f"00-{trace_id_of(RUN)}-00f067aa0ba902b7-01"


def test_events_without_a_rule_of_older_runs_are_spans_too() -> None:
    record = a_record()
    seq, event = record.events[0]
    old = Event.model_validate({**event.model_dump(), "data": {"verdict": "deny", "kind": "network", "reason": "no"}})
    found = by_name(spans_of(dataclasses.replace(record, events=((seq, old),))))
    assert found["run_guardrail network"][0].attributes["agent.policy.decision"] == "deny"
