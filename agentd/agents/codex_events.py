"""Codex's `exec --json` lines as events."""

from __future__ import annotations

import re

from agentd.agents.events import (
    AgentEvent,
    Error,
    Final,
    Retry,
    Started,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Usage,
    tool_kind,
)
from agentd.agents.outcomes import from_text
from agentd.agents.transcript import Object, Transcript, number, text_of

SANDBOX_BROKEN = Error(
    "failed",
    "codex's own sandbox cannot start (its helper program is missing: is CODEX_HOME under /tmp?), so no command of "
    "this run was executed",
)
"""Codex goes on and exits with 0 when its sandbox fails every command."""

_HELPER_MISSING = re.compile(r"codex-linux-sandbox: No such file")
_RECONNECTING = re.compile(r"^Reconnecting\D*(\d+)/(\d+)")
_STATUS = re.compile(r"status\W{0,4}([45]\d\d)\b")


def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    """The events of one line; None for a type nobody knows."""
    match line.get("type"):
        case "thread.started":
            return [Started(line["thread_id"])]
        case "turn.started":
            return []
        case "item.started" | "item.updated":
            return _begun(line["item"]) if line["type"] == "item.started" else []
        case "item.completed":
            return _finished(line["item"], transcript)
        case "turn.completed":
            return _turn(line, transcript)
        case "turn.failed":
            return [_error(text_of((line.get("error") or {}).get("message")))]
        case "error":
            return [_retry_or_error(text_of(line.get("message")))]
    return None


def _begun(item: Object) -> list[AgentEvent]:
    name = item["type"]
    if name in ("agent_message", "reasoning", "error", "todo_list"):
        return []
    return [ToolCall(item["id"], _tool_name(item), tool_kind(name), _input(item))]


def _finished(item: Object, transcript: Transcript) -> list[AgentEvent] | None:
    match item["type"]:
        case "agent_message":
            return [Text(item["text"])]
        case "reasoning":
            return [Thought(item["text"])]
        case "command_execution":
            output = item.get("aggregated_output") or ""
            result = ToolResult(item["id"], item.get("exit_code") == 0, output)
            return [result, SANDBOX_BROKEN] if _HELPER_MISSING.search(output) else [result]
        case "file_change":
            # A patch is only reported once it is applied.
            call = ToolCall(item["id"], "file_change", "edit", {"changes": item.get("changes")})
            return [call, ToolResult(item["id"], item.get("status") == "completed", "")]
        case "mcp_tool_call" | "web_search":
            return [ToolResult(item["id"], item.get("status") != "failed", text_of(item.get("result")))]
    # Among them items of type "error", which warn (of an unknown model, say) and end nothing.
    return None


def _turn(line: Object, transcript: Transcript) -> list[AgentEvent]:
    usage = line.get("usage") or {}
    total = Usage(
        number(usage.get("input_tokens")),
        number(usage.get("output_tokens")),
        number(usage.get("cached_input_tokens")),
        number(usage.get("reasoning_output_tokens")),
        scope="total",
    )
    return [total, SANDBOX_BROKEN if transcript.ended == SANDBOX_BROKEN else Final(transcript.last_text)]


def _retry_or_error(message: str) -> Retry | Error:
    again = _RECONNECTING.match(message)
    if not again:
        return _error(message)
    status = _STATUS.search(message)
    return Retry(int(again[1]), int(status[1]) if status else None)


def _error(message: str) -> Error:
    return from_text(message, Error("failed", "the turn failed", retryable=True))


def _tool_name(item: Object) -> str:
    return str(item.get("tool") or item["type"])


def _input(item: Object) -> Object:
    fields = ("command", "changes", "server", "tool", "arguments", "query")
    return {name: item[name] for name in fields if name in item}
