"""What the drivers write as events: one JSON object a line, in words that are those of events.py already."""

from __future__ import annotations

from typing import get_args

from agentd.agents.events import (
    AgentEvent,
    Denied,
    Error,
    Final,
    OutcomeKind,
    Retry,
    Started,
    Text,
    Thought,
    ToolCall,
    ToolKind,
    ToolResult,
    Usage,
)
from agentd.agents.outcomes import from_text
from agentd.agents.transcript import Object, Transcript, number, text_of

TOOL_KINDS: dict[str, ToolKind] = {kind: kind for kind in get_args(ToolKind)}
OUTCOME_KINDS: dict[str, OutcomeKind] = {kind: kind for kind in get_args(OutcomeKind)}


def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    """The event of one line; None for one that nobody knows."""
    event = _event(line)
    return None if event is None else [event]


def _event(line: Object) -> AgentEvent | None:
    match line.get("event"):
        case "started":
            return Started(text_of(line["session_id"]), text_of(line.get("model")))
        case "text":
            return Text(text_of(line["text"]))
        case "thought":
            return Thought(text_of(line["text"]))
        case "tool_call":
            given = line.get("input")
            return ToolCall(
                text_of(line["id"]),
                text_of(line["name"]),
                TOOL_KINDS.get(text_of(line.get("kind")), "other"),
                given if isinstance(given, dict) else {},
            )
        case "tool_result":
            return ToolResult(text_of(line["id"]), line.get("ok") is True, text_of(line.get("output")))
        case "denied":
            return Denied(text_of(line.get("id")), text_of(line.get("reason")))
        case "usage":
            return _usage(line)
        case "retry":
            status = line.get("status")
            return Retry(number(line.get("attempt")), status if isinstance(status, int) else None)
        case "final":
            return Final(text_of(line.get("text")))
        case "error":
            return _error(line)
    return None


def _usage(line: Object) -> Usage:
    return Usage(
        number(line.get("input_tokens")),
        number(line.get("output_tokens")),
        number(line.get("cached_tokens")),
        number(line.get("reasoning_tokens")),
        scope="total" if line.get("scope") == "total" else "delta",
    )


def _error(line: Object) -> Error:
    """With `from_text` the driver only hands on what the agent said, and the words in it decide."""
    kind = OUTCOME_KINDS.get(text_of(line.get("kind")), "failed")
    error = Error(kind, text_of(line.get("message")), line.get("retryable") is True)
    return from_text(error.message, error) if line.get("from_text") is True else error
