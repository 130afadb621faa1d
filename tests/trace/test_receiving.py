"""What agents say of themselves: only what is on the list, bounded, and always somewhere below the run's own spans."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from agentd.model import root_step_id, stage_step_id, step_id_of
from agentd.store import reported
from agentd.store.connection import Store
from agentd.store.reported import Reported
from agentd.trace import names
from agentd.trace.receiving import spans_in
from agentd.trace.span import trace_id_of
from agentd.trace.spans import spans_of
from tests.traces import RUN, a_record, at

TRACE = trace_id_of(RUN)
TURN = step_id_of(RUN, stage_step_id(RUN, "agent-0"), "agent_turn", "build")


def a_span(name: str = "claude_code.tool", **changes: Any) -> dict[str, Any]:
    start = int(at(3).timestamp()) * 10**9
    made = {"traceId": TRACE, "spanId": "00f067aa0ba902b7", "parentSpanId": TURN, "name": name}
    return {**made, "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 5), **changes}


def a_body(*spans: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def test_spans_on_the_list_are_taken_with_the_attributes_on_the_list() -> None:
    given = [
        {"key": "tool_name", "value": {"stringValue": "Bash\x1b[2J" + "x" * 900}},
        {"key": "input_tokens", "value": {"intValue": "7"}},
        {"key": "success", "value": {"boolValue": True}},
        {"key": "user.email", "value": {"stringValue": "a@b"}},
        {"key": "full_command", "value": {"stringValue": "curl -H 'key: x'"}},
        {"key": "output_tokens", "value": {"intValue": str(10**30)}},
        {"key": "ttft_ms", "value": {"doubleValue": float("nan")}},
    ]
    [span] = spans_in(a_body(a_span(attributes=given)), "claude", TRACE)
    assert (span.name, span.parent_id) == ("claude_code.tool", TURN)
    assert span.attributes.keys() == {"tool_name", "input_tokens", "success"}
    assert span.attributes["input_tokens"] == 7
    told = str(span.attributes["tool_name"])
    assert told.startswith("Bash[2J") and len(told) < 201


@pytest.mark.parametrize(
    ("span", "adapter"),
    [
        (a_span("fs.get_metadata"), "claude"),
        (a_span(), "codex"),
        (a_span(traceId="0" * 31 + "1"), "claude"),
        (a_span(startTimeUnixNano=str(1 << 70)), "claude"),
    ],
)
def test_anything_else_is_left_where_it_is(span: dict[str, Any], adapter: str) -> None:
    assert spans_in(a_body(span), adapter, TRACE) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 9999,
        a_body(1),
        a_body({}),
        a_body(a_span(spanId="x")),
        a_body(a_span(spanId="z" * 16)),
        a_body(a_span(startTimeUnixNano=0)).replace(b'"startTimeUnixNano": 0', b'"startTimeUnixNano": 1e999'),
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        spans_in(body, "claude", TRACE)


def test_no_agent_fills_the_store_or_writes_over_what_is_there(store: Store) -> None:
    first = Reported("00f067aa0ba902b7", TURN, "claude_code.tool", 1, 2, {"attempt": 1})
    assert reported.add(store, RUN, [first]) == 1
    reported.add(store, RUN, [first._replace(name="claude_code.interaction")])
    assert reported.reported_of(store, RUN) == [first]
    reported.add(store, RUN, [first._replace(span_id=f"{number:016x}") for number in range(reported.MOST_SPANS + 9)])
    assert len(reported.reported_of(store, RUN)) == reported.MOST_SPANS


def test_they_hang_below_the_runs_own_spans_whatever_they_say() -> None:
    start = int(at(3).timestamp()) * 10**9
    said = {
        "a" * 16: TURN,
        "b" * 16: "a" * 16,
        "c" * 16: "d" * 16,  # in a circle
        "d" * 16: "c" * 16,
        "e" * 16: "9" * 16,  # nobody's child
        TURN: "",  # would take the turn's place
        root_step_id(RUN): "",
    }
    own = tuple(Reported(span, parent, "claude_code.tool", start, start, {}) for span, parent in said.items())
    spans = {span.span_id: span for span in spans_of(dataclasses.replace(a_record(), reported=own))}
    before = spans_of(a_record())
    assert len(spans) == len(before) + 5
    assert spans["b" * 16].parent_id == "a" * 16
    assert {spans[letter * 16].parent_id for letter in "acde"} == {TURN}
    assert all(spans[span.span_id] == span for span in before)
    assert spans["a" * 16].attributes[names.AGENT_OWN] is True
