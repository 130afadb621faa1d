"""The practice model in the dialect of Anthropic Messages (docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentd.practice.model_chat import Frame
from agentd.practice.model_tools import Reply, Tool

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def tools(body: Mapping[str, Any]) -> list[Tool]:
    """The client tools the request offers; the server's own (web search and such) are left out."""
    return [Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or () if "input_schema" in tool]


def answer(reply: Reply, model: str, reply_id: str) -> dict[str, Any]:
    """The whole answer, not streamed."""
    return {
        "id": f"msg_{reply_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _blocks(reply, reply_id),
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "usage": _usage(reply),
    }


def frames(reply: Reply, model: str, reply_id: str, body: Mapping[str, Any]) -> list[Frame]:
    """The streamed answer; the true output count comes with the last delta only, as from the real service."""
    whole = answer(reply, model, reply_id)
    start = whole | {"content": [], "stop_reason": None, "usage": _usage(reply) | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        events += _block_events(index, block)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": reply.usage.output}})
    events.append({"type": "message_stop"})
    return [(event["type"], json.dumps(event)) for event in events]


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an HTTP error."""
    return {"type": "error", "error": {"type": _ERRORS.get(status, "api_error"), "message": message}}


def _blocks(reply: Reply, reply_id: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.thinking:
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": "practice"})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for index, call in enumerate(reply.calls):
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{reply_id}_{index}", "name": call.name, "input": dict(call.input)}
        )
    return blocks


def _block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    empty: dict[str, Any]
    if block["type"] == "text":
        empty, deltas = {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
    elif block["type"] == "thinking":
        empty = {"thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    else:
        empty, deltas = {"input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return [
        {"type": "content_block_start", "index": index, "content_block": block | empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _usage(reply: Reply) -> dict[str, int]:
    # Here, unlike with OpenAI, the input count leaves out what came from the cache.
    return {
        "input_tokens": reply.usage.input - reply.usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.usage.cached,
        "output_tokens": reply.usage.output,
    }
