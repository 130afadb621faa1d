"""What an agent says of itself over OTLP/HTTP, read with suspicion: a list says which spans and attributes are taken.

https://opentelemetry.io/docs/specs/otlp/#otlphttp, in its JSON form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from agentd.store.reported import Reported

SPANS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "claude": frozenset(
            {
                "claude_code.interaction",
                "claude_code.llm_request",
                "claude_code.tool",
                "claude_code.tool.execution",
                "claude_code.tool.blocked_on_user",
            }
        ),
    }
)
"""By adapter, the names of the spans that are taken. Codex sends hundreds for one turn, which nobody would read."""
ATTRIBUTES = frozenset(
    {
        *("model", "attempt", "success", "stop_reason", "ttft_ms", "duration_ms", "tool_name", "tool_use_id"),
        *("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "gen_ai.tool.call.id"),
    }
)
MOST_CHARACTERS = 200


def spans_in(body: bytes, adapter: str, trace_id: str) -> list[Reported]:
    """The spans of a request that belong to the trace and are on the adapter's list. Raises ValueError."""
    try:
        return list(_spans(json.loads(body), SPANS.get(adapter, frozenset()), trace_id))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"is no OTLP/JSON: {error!r}") from None


def _spans(request: Any, names: frozenset[str], trace_id: str) -> Iterator[Reported]:
    for resource in request.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                if span["name"] not in names or str(span["traceId"]).lower() != trace_id:
                    continue
                start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                span_id, parent = _id(span["spanId"]), _id(span.get("parentSpanId") or "0" * 16)
                known = dict(_attributes(span.get("attributes", ())))
                if 0 <= start < 1 << 63 and 0 <= end < 1 << 63:
                    yield Reported(span_id, parent.strip("0") and parent, span["name"], start, max(start, end), known)


def _attributes(given: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    for each in given:
        if each["key"] not in ATTRIBUTES:
            continue
        for kind, value in each["value"].items():
            # What a collector's protocol cannot say would keep all the rest of the trace from it.
            if kind == "intValue" and -(1 << 63) <= int(value) < 1 << 63:
                yield each["key"], int(value)
            elif kind == "doubleValue" and math.isfinite(float(value)):
                yield each["key"], float(value)
            elif kind == "boolValue":
                yield each["key"], bool(value)
            elif kind == "stringValue":
                yield each["key"], "".join(c for c in str(value)[:MOST_CHARACTERS] if c.isprintable())


def _id(value: str) -> str:
    if len(value) != 16:
        raise ValueError(f"a span id has 16 hex digits: {value[:40]!r}")
    return f"{int(value, 16):016x}"
