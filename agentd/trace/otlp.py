"""Spans as OTLP/JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding, keys in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentd.trace import names
from agentd.trace.span import Span, Value

KINDS = {"internal": 1, "client": 3}
STATUS = {"unset": 0, "ok": 1, "error": 2}


def resource_of(version: str) -> dict[str, Value]:
    """Who made the spans."""
    return {names.SERVICE: "agentd", names.SERVICE_VERSION: version}


def to_json(spans: Sequence[Span], resource: Mapping[str, Value]) -> dict[str, Any]:
    """One ExportTraceServiceRequest as JSON values."""
    scope = {"scope": {"name": names.SCOPE}, "spans": [_span(span) for span in spans], "schemaUrl": names.SCHEMA_URL}
    made = {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope], "schemaUrl": names.SCHEMA_URL}
    return {"resourceSpans": [made]}


def _span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "events": [
            {"timeUnixNano": str(event.at_ns), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "status": {"code": STATUS[span.status], **({"message": span.message} if span.message else {})},
    }
    return {key: value for key, value in made.items() if value not in ("", [], {"code": 0})}


def _attributes(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(attributes[key])} for key in sorted(attributes)]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": str(value)}
