"""Where traces go: a file, an OpenTelemetry collector, LangSmith. A sink that fails says so; nothing waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentd.errors import AgentdError, ConfigurationError
from agentd.trace import names
from agentd.trace.langsmith import Project, as_langsmith
from agentd.trace.otlp import to_json
from agentd.trace.span import Span, Value

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

Sink = Literal["file", "otlp", "langsmith"]
SEND_SECONDS = 5.0
"""How long a collector has to take one run's spans."""
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""Environment variable with `name=value` pairs, as every exporter reads it."""


class SinkFailed(AgentdError):
    """The spans were not taken."""


@dataclass(frozen=True)
class Trace:
    """What a sink is given."""

    run_id: str
    spans: Sequence[Span]
    resource: Mapping[str, Value]


def cleaned(spans: Sequence[Span], clean: Callable[[str], str]) -> list[Span]:
    """Spans whose texts `clean` has gone over."""

    def tidy(attributes: Mapping[str, Value]) -> dict[str, Value]:
        return {key: clean(value) if isinstance(value, str) else value for key, value in attributes.items()}

    return [
        replace(
            span,
            name=clean(span.name),
            message=clean(span.message),
            attributes=tidy(span.attributes),
            events=tuple(replace(event, attributes=tidy(event.attributes)) for event in span.events),
        )
        for span in spans
    ]


def write_file(trace: Trace, folder: Path) -> Path:
    """`<folder>/<run id>.json`: one OTLP/JSON line, as the collector's file exporter writes them. Raises SinkFailed."""
    path = folder / f"{trace.run_id}.json"
    new = path.with_suffix(".new")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new.write_text(
            json.dumps(to_json(trace.spans, trace.resource), ensure_ascii=False, separators=(",", ":")) + "\n"
        )
        new.replace(path)
    except OSError as error:
        raise SinkFailed(f"{path}: the trace cannot be written: {error.strerror}") from None
    return path


def send_otlp(trace: Trace, endpoint: str, environ: Mapping[str, str]) -> None:
    """Send to `<endpoint>/v1/traces`. Raises SinkFailed, ConfigurationError."""
    _send(trace, f"{endpoint.rstrip('/')}/v1/traces", _headers(environ.get(HEADERS, "")))


def send_langsmith(trace: Trace, project: Project) -> None:
    """Send to LangSmith, into the project that was found. Raises SinkFailed, ConfigurationError."""
    headers = {"x-api-key": project.api_key}
    if project.name:
        headers["Langsmith-Project"] = project.name
    spans = as_langsmith(trace.spans)
    _send(replace(trace, spans=spans), f"{project.endpoint}/otel/v1/traces", headers)


def _headers(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _send(trace: Trace, url: str, headers: Mapping[str, str]) -> None:
    import logging

    import requests

    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError:
        raise ConfigurationError(
            "[tracing] sinks: `otlp` and `langsmith` need OpenTelemetry's exporter: `pip install 'agentd[otlp]'`"
        ) from None
    # It would tell its own story of every failure on standard error.
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.max_redirects = 0  # the headers hold a key, and a POST would become a GET that takes nothing
    exporter = OTLPSpanExporter(url, headers=dict(headers), timeout=SEND_SECONDS, session=session)
    try:
        done = exporter.export(_readable(trace))
    except Exception as error:  # whatever a transport of its own may raise
        raise SinkFailed(f"{url}: {type(error).__name__}: {error}") from None
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry has it so
    if done is not SpanExportResult.SUCCESS:
        raise SinkFailed(f"{url}: the spans were not taken within {SEND_SECONDS:g} s; is a collector there?")


def _readable(trace: Trace) -> list[ReadableSpan]:
    """The same spans as OpenTelemetry's SDK has them."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    resource = Resource(dict(trace.resource), names.SCHEMA_URL)
    scope = InstrumentationScope(names.SCOPE, schema_url=names.SCHEMA_URL)
    kinds = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
    codes = {"unset": StatusCode.UNSET, "ok": StatusCode.OK, "error": StatusCode.ERROR}

    def context(trace_id: str, span_id: str) -> SpanContext:
        return SpanContext(int(trace_id, 16), int(span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))

    def readable(span: Span) -> ReadableSpan:
        parent: Any = context(span.trace_id, span.parent_id) if span.parent_id else None
        return ReadableSpan(
            span.name,
            context(span.trace_id, span.span_id),
            parent,
            resource,
            dict(span.attributes),
            [Event(event.name, dict(event.attributes), event.at_ns) for event in span.events],
            kind=kinds[span.kind],
            status=Status(codes[span.status], span.message or None)
            if span.status == "error"
            else Status(codes[span.status]),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=scope,
        )

    return [readable(span) for span in trace.spans]
