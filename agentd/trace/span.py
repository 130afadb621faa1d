"""What a trace is made from, and what it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from agentd.model import Event, Run, Step, Task
from agentd.store.reported import Reported
from agentd.store.spending import Call

Value = str | int | float | bool
SpanKind = Literal["internal", "client"]
Status = Literal["unset", "ok", "error"]


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    at_ns: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Span:
    """One span, its times in nanoseconds since the epoch."""

    trace_id: str
    """32 hex digits"""
    span_id: str
    """16 hex digits"""
    parent_id: str
    """empty for the root"""
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    status: Status = "unset"
    message: str = ""
    events: tuple[SpanEvent, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """What the store knows of a run that has come to its end, or to its pull request."""

    run: Run
    task: Task
    repo: str
    ended_at: datetime
    steps: tuple[Step, ...] = ()
    calls: tuple[Call, ...] = ()
    events: tuple[tuple[int, Event], ...] = ()
    """with their sequence numbers"""
    reported: tuple[Reported, ...] = ()
    """what the agent has said of itself"""


def trace_id_of(run_id: str) -> str:
    """The trace of a run: known before it begins."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def traceparent(run_id: str, span_id: str) -> str:
    """What hands the trace on to a program (https://www.w3.org/TR/trace-context/)."""
    return f"00-{trace_id_of(run_id)}-{span_id}-01"
