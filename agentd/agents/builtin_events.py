"""The built-in agent's lines as events."""

from __future__ import annotations

from typing import Any

from agentd.agents.events import (
    AgentEvent,
    Denied,
    Error,
    Final,
    OutcomeKind,
    Retry,
    Started,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    tool_kind,
)
from agentd.agents.transcript import Object, Transcript, number

KINDS: dict[str, OutcomeKind] = {
    "api_error": "api_error",
    "auth_error": "auth_error",
    "quota": "quota",
    "limit": "limit",
}
"""Any other error is `failed`."""


def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    """The events of one line; None for a type nobody knows."""
    data: Any = line.get("data")
    match line.get("type"):
        case "started":
            return [Started(str(data["session"]), str(data["model"]))]
        case "thought":
            return [Text(str(data["text"]))]
        case "tool_call":
            name = str(data["name"])
            return [ToolCall(str(data["id"]), name, tool_kind(name), dict(data["input"]))]
        case "tool_result":
            output = str(data["output"])
            denied: list[AgentEvent] = [Denied(str(data["id"]), output)] if data["denied"] else []
            return [*denied, ToolResult(str(data["id"]), bool(data["ok"]), output)]
        case "final_report":
            return [Final(str(data["summary"]))]
        case "error":
            return [_error(data)]
        case "usage":
            return [Usage(number(data["input"]), number(data["output"]), number(data["cached"]))]
        case "retry":
            return [Retry(number(data["attempt"]), data["status"], float(data["seconds"]))]
    return None


def _error(data: Any) -> Error:
    kind = KINDS.get(str(data["kind"]), "failed")
    seconds = data["retry_after_seconds"]
    wait = float(seconds) if isinstance(seconds, (int, float)) else None
    return Error(kind, str(data["message"]), bool(data["retryable"]), wait)
