"""Where traces go, over real HTTP: the file, a collector, LangSmith through its own client; and what fails, says so."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from agentd.trace.langsmith import Project, resolve_project
from agentd.trace.otlp import resource_of
from agentd.trace.sinks import SinkFailed, Trace, cleaned, send_langsmith, send_otlp, write_file
from agentd.trace.spans import spans_of
from tests.traces import RUN, Receiver, a_record, receiving

TRACE = Trace(RUN, spans_of(a_record()), resource_of("1.2.3"))


def test_the_file_is_one_line_of_otlp_json_and_is_replaced_whole(tmp_path: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    path = write_file(TRACE, tmp_path / "traces")
    assert path.name == f"{RUN}.json"
    first = path.read_bytes()
    assert write_file(TRACE, tmp_path / "traces").read_bytes() == first
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert first.count(b"\n") == 1
    # OTLP/JSON has ids in hex where protobuf's JSON has base64; everything else must be as protobuf reads it.
    values = json.loads(first)
    for span in values["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        assert (len(bytes.fromhex(span["traceId"])), len(bytes.fromhex(span["spanId"]))) == (16, 8)
        for name in ("traceId", "spanId", "parentSpanId"):
            span.pop(name, None)
    parsed = ParseDict(values, ExportTraceServiceRequest())
    assert len(parsed.resource_spans[0].scope_spans[0].spans) == len(TRACE.spans)
    with pytest.raises(SinkFailed, match="cannot be written"):
        write_file(TRACE, path)


def test_a_collector_gets_the_same_spans(receiver: Receiver) -> None:
    send_otlp(TRACE, receiver.url, {"OTEL_EXPORTER_OTLP_HEADERS": "x-team=a b, Authorization=Bearer t"})
    [(path, headers, _)] = receiver.requests
    assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    assert (headers["x-team"], headers["authorization"]) == ("a b", "Bearer t")
    found = {span.span_id.hex(): span for span in receiver.spans()}
    for span in TRACE.spans:
        there = found[span.span_id]
        assert (there.trace_id.hex(), there.parent_span_id.hex()) == (span.trace_id, span.parent_id)
        assert (there.name, there.start_time_unix_nano, there.end_time_unix_nano) == (
            span.name,
            span.start_ns,
            span.end_ns,
        )
        assert {each.key for each in there.attributes} == set(span.attributes)
        assert there.status.code == {"unset": 0, "ok": 1, "error": 2}[span.status]


@pytest.mark.parametrize("status", [400, 401])
def test_a_collector_that_refuses_is_said(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(SinkFailed, match="not taken"):
        send_otlp(TRACE, receiver.url, {})


@pytest.mark.parametrize("status", [301, 307])
def test_a_collector_that_points_elsewhere_sends_no_key_there(receiver: Receiver, status: int) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.location = status, f"{elsewhere.url}/v1/traces"
        with pytest.raises(SinkFailed, match="/v1/traces"):
            send_langsmith(TRACE, Project("default", endpoint=receiver.url, api_key="key"))
    assert elsewhere.requests == []


def test_a_collector_that_is_not_there_is_said() -> None:
    with pytest.raises(SinkFailed, match=r"http://127\.0\.0\.1:1/v1/traces"):
        send_otlp(TRACE, "http://127.0.0.1:1", {})


def test_secrets_are_taken_out_of_every_text() -> None:
    spans = cleaned(TRACE.spans, lambda text: text.replace("it died", "***"))
    assert "it died" not in repr(spans)
    assert "it died" in repr(TRACE.spans)


def sessions(*known: str) -> list[dict[str, object]]:
    """LangSmith's answer to a listing of projects."""
    tenant = str(UUID(int=7))
    row = {"tenant_id": tenant, "start_time": "2026-01-01T00:00:00", "reference_dataset_id": None}
    return [{**row, "id": str(UUID(int=number)), "name": name} for number, name in enumerate(known)]


KEY = {"LANGSMITH_API_KEY": "ls-key"}
MODES = {
    "no key": ({}, [], ("disabled_no_api_key", "")),
    "no project asked for": (KEY, ["a"], ("default", "")),
    "the one asked for": ({**KEY, "LANGSMITH_PROJECT": "b"}, ["a", "b"], ("explicit", "b")),
    "Deep Agents' own goes first": (
        {**KEY, "LANGSMITH_PROJECT": "b", "DEEPAGENTS_LANGSMITH_PROJECT": "a"},
        ["a", "b"],
        ("explicit", "a"),
    ),
    "one that is not there": ({**KEY, "LANGCHAIN_PROJECT": "c"}, ["a", "b"], ("fallback_existing_project", "a")),
    "there is none": ({**KEY, "LANGCHAIN_PROJECT": "c"}, [], ("fallback_default", "")),
    "an older name of the key": ({"LANGCHAIN_API_KEY": "ls-key", "LANGSMITH_PROJECT": "a"}, ["a"], ("explicit", "a")),
}


@pytest.mark.parametrize("case", MODES)
def test_the_project_is_asked_for_with_langsmiths_own_client(receiver: Receiver, case: str) -> None:
    environ, known, expected = MODES[case]
    receiver.answers = {"/sessions": sessions(*known), "/info": {"version": "1"}}
    found = resolve_project({**environ, "LANGSMITH_ENDPOINT": f"{receiver.url}/"})
    assert (found.mode, found.name) == expected
    asked = [headers for path, headers, _ in receiver.requests if path.startswith("/sessions")]
    assert all(headers["x-api-key"] == "ls-key" for headers in asked)
    assert bool(asked) == any(name.endswith("PROJECT") for name in environ)


def test_langsmith_out_of_reach_falls_back_to_the_default(receiver: Receiver) -> None:
    receiver.status = 500
    receiver.answers = {"/sessions": []}
    found = resolve_project({**KEY, "LANGSMITH_PROJECT": "b", "LANGSMITH_ENDPOINT": "http://127.0.0.1:1"})
    assert (found.mode, found.name) == ("fallback_default", "")
    assert "cannot be listed" in found.note
    assert "ls-key" not in found.note


def test_langsmith_gets_the_spans_over_otlp_sorted_its_way(receiver: Receiver) -> None:
    send_langsmith(TRACE, Project("explicit", "b", endpoint=receiver.url, api_key="ls-key"))
    [(path, headers, _)] = receiver.requests
    assert path == "/otel/v1/traces"
    assert (headers["x-api-key"], headers["langsmith-project"]) == ("ls-key", "b")
    kinds = {}
    for span in receiver.spans():
        attributes = {each.key: each.value.string_value for each in span.attributes}
        kinds[span.name] = attributes["langsmith.span.kind"]
        assert attributes["langsmith.metadata.correlation_key"] == f"issue-1:{RUN}"
    assert kinds["chat claude-x"] == "llm"
    assert kinds["execute_tool Bash"] == "tool"
    assert kinds["invoke_workflow implement-issue"] == "chain"
