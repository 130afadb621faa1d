"""Claude Code's stream-json lines as events."""

from __future__ import annotations

from typing import Any

from agentd.agents.events import (
    AgentEvent,
    Denied,
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
from agentd.agents.outcomes import at_epoch, from_status, from_text
from agentd.agents.transcript import Object, Transcript, number, text_of, usd

LIMITS = {
    "error_max_turns": "its limit of turns is used up",
    "error_max_budget_usd": "its budget is used up",
}


def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
    """The events of one line; None for a type nobody knows."""
    match line.get("type"):
        case "system":
            return _system(line)
        case "assistant":
            return [event for block in line["message"]["content"] for event in _said(block)]
        case "user":
            return _results(line)
        case "rate_limit_event":
            return _rate_limit(line.get("rate_limit_info") or {})
        case "result":
            return _result(line, transcript)
    return None


def _system(line: Object) -> list[AgentEvent] | None:
    match line.get("subtype"):
        case "init":
            return [Started(line["session_id"], line.get("model") or "")]
        case "api_retry":
            delay_seconds = number(round(line.get("retry_delay_ms") or 0)) / 1000
            return [Retry(number(line.get("attempt")), line.get("error_status"), delay_seconds)]
        case "permission_denied":
            return [Denied(line.get("tool_use_id") or "", text_of(line.get("message") or line.get("tool_name")))]
        case "thinking_tokens" | "status":
            return []
    return None


def _said(block: Object) -> list[AgentEvent]:
    match block["type"]:
        case "text":
            return [Text(block["text"])]
        case "thinking":
            return [Thought(block["thinking"])]
        case "tool_use" | "server_tool_use":
            return [ToolCall(block["id"], block["name"], tool_kind(block["name"]), block["input"])]
    return []


def _results(line: Object) -> list[AgentEvent] | None:
    content = line["message"]["content"]
    if isinstance(content, str):
        return []
    return [
        ToolResult(block["tool_use_id"], not block.get("is_error"), text_of(block.get("content")))
        for block in content
        if block.get("type") == "tool_result"
    ]


def _rate_limit(info: Object) -> list[AgentEvent]:
    """A subscription's window; "rejected" means that nothing is served before it is over."""
    if info.get("status") != "rejected":
        return []
    message = f"the subscription's {info.get('rateLimitType') or 'usage'} limit is reached"
    resets = info.get("resetsAt")
    return [Error("quota", message, True, retry_at=at_epoch(resets) if resets else None)]


def _result(line: Object, transcript: Transcript) -> list[AgentEvent]:
    events: list[AgentEvent] = []
    if not transcript.denials:
        # Earlier versions told of denials only here.
        for denial in line.get("permission_denials") or ():
            events.append(Denied(denial.get("tool_use_id") or "", f"{denial.get('tool_name')} is not allowed"))
    end = _end(line, transcript)
    # Usage tells of a call that worked: before the error it would end the tries of one that was repeated in vain.
    return [*events, end, *_used(line)] if isinstance(end, Error) else [*events, *_used(line), end]


def _end(line: Object, transcript: Transcript) -> Final | Error:
    """An API error comes with the subtype "success": only is_error tells."""
    subtype, said = line.get("subtype"), text_of(line.get("result") or line.get("errors"))
    if subtype in LIMITS:
        return Error("limit", LIMITS[subtype])
    if not line.get("is_error") and subtype == "success":
        return Final(said)
    earlier = transcript.ended
    if isinstance(earlier, Error) and earlier.kind == "quota" and earlier.retry_at:
        return earlier
    status = line.get("api_error_status")
    if isinstance(status, int):
        return from_status(status, said)
    return from_text(said, Error("failed", f"ended with {subtype}", retryable=True))


def _used(line: Object) -> list[Usage]:
    """What was used since the last result: a run has several when work in the background outlives its turn.

    `usage` leaves the subagents out, and the totals count the earlier runs of a resumed session; earlier versions tell
    nothing else.
    """
    since = line.get("model_usage_since_last_result")
    if isinstance(since, dict):
        return [_of_model(model) for model in since.values()]
    usage = line.get("usage") or {}
    cached = number(usage.get("cache_read_input_tokens"))
    used = Usage(
        number(usage.get("input_tokens")) + cached + number(usage.get("cache_creation_input_tokens")),
        number(usage.get("output_tokens")),
        cached,
        number((usage.get("output_tokens_details") or {}).get("thinking_tokens")),
        usd(line.get("total_cost_usd")),
        "total",
    )
    # An error outside of a turn comes with zeros.
    return [used] if used.input_tokens or used.output_tokens else []


def _of_model(used: Any) -> Usage:
    """Claude counts what it read from and wrote to the cache apart from the other input."""
    cached = number(used.get("cacheReadInputTokens"))
    return Usage(
        number(used.get("inputTokens")) + cached + number(used.get("cacheCreationInputTokens")),
        number(used.get("outputTokens")),
        cached,
        number(used.get("thinkingTokens")),
        usd(used.get("costUSD")),
    )
