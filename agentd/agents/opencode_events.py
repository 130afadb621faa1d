"""OpenCode's `run --format json` lines as events."""

from __future__ import annotations

import re

from agentd.agents.drivers.opencode import REFUSED
from agentd.agents.events import (
    AgentEvent,
    Denied,
    Error,
    Final,
    Started,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Usage,
    tool_kind,
)
from agentd.agents.outcomes import from_status, from_text
from agentd.agents.transcript import Object, Transcript, number, text_of

_DENIED = re.compile(r"rule which prevents you from using|rejected permission|permission (?:was )?denied by", re.I)


def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    """The events of one line; None for a type nobody knows. Every line names the session, and none begins it."""
    events = _read(line, transcript)
    session = line.get("sessionID")
    if events is None or transcript.session_id is not None or not isinstance(session, str):
        return events
    return [Started(session), *events]


def _read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    match line.get("type"):
        case "step_start":
            return []
        case "text":
            return [Text(line["part"]["text"])]
        case "reasoning":
            return [Thought(line["part"]["text"])]
        case "tool_use":
            return _tool(line["part"])
        case "step_finish":
            return _step(line["part"], transcript)
        case "error":
            return [_error(line["error"])]
    return None


def _tool(part: Object) -> list[AgentEvent]:
    """A tool is only reported once it has ended."""
    state = part["state"]
    call = ToolCall(part["callID"], part["tool"], tool_kind(part["tool"]), state.get("input") or {})
    if state["status"] != "error":
        return [call, ToolResult(call.id, True, text_of(state.get("output")))]
    said = text_of(state.get("error"))
    reason = said.partition(" Here are some of the relevant rules")[0]
    denied: list[AgentEvent] = [Denied(call.id, reason)] if _DENIED.search(said) else []
    return [call, *denied, ToolResult(call.id, False, said)]


def _step(part: Object, transcript: Transcript) -> list[AgentEvent]:
    """The end of one answer of the model; the last one asks for no tool. It counts cached and thought tokens apart."""
    tokens = part.get("tokens") or {}
    cache = tokens.get("cache") or {}
    cached, reasoning = number(cache.get("read")), number(tokens.get("reasoning"))
    usage = Usage(
        number(tokens.get("input")) + cached + number(cache.get("write")),
        number(tokens.get("output")) + reasoning,
        cached,
        reasoning,
    )
    return [usage, Final(transcript.last_text)] if part.get("reason") == "stop" else [usage]


def _error(error: Object) -> Error:
    data = error.get("data") or {}
    said = text_of(data.get("message") or error.get("name"))
    if error.get("name") == REFUSED:
        return Error("failed", said)
    status = data.get("statusCode")
    if isinstance(status, int) and status >= 400:
        return from_status(status, said)
    return from_text(said, Error("failed", "it ended with an error", retryable=True))
