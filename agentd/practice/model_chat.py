"""The practice model in the dialect of OpenAI chat completions (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentd.practice.model_tools import Reply, Tool

Frame = tuple[str | None, str]
"""One server-sent event: its `event:` name, if any, and its `data:`."""


def tools(body: Mapping[str, Any]) -> list[Tool]:
    """The tools the request offers."""
    functions = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    return [Tool(function["name"], function.get("parameters") or {}) for function in functions]


def answer(reply: Reply, model: str, reply_id: str) -> dict[str, Any]:
    """The whole answer, not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = _calls(reply, reply_id)
    return {
        "id": f"chatcmpl-{reply_id}",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}],
        "usage": _usage(reply),
    }


def frames(reply: Reply, model: str, reply_id: str, body: Mapping[str, Any]) -> list[Frame]:
    """The streamed answer; usage comes in a chunk of its own only where the request asked for it."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if reply.text:
        deltas.append({"content": reply.text})
    deltas += [{"tool_calls": [{"index": index, **call}]} for index, call in enumerate(_calls(reply, reply_id))]
    chunks = [_chunk(model, reply_id, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    chunks.append(_chunk(model, reply_id, [{"index": 0, "delta": {}, "finish_reason": _finish(reply)}]))
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append(_chunk(model, reply_id, []) | {"usage": _usage(reply)})
    return [*((None, json.dumps(chunk)) for chunk in chunks), (None, "[DONE]")]


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an HTTP error."""
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _calls(reply: Reply, reply_id: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{reply_id}_{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.input)},
        }
        for index, call in enumerate(reply.calls)
    ]


def _chunk(model: str, reply_id: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply_id}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": choices,
    }


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.usage.input,
        "completion_tokens": reply.usage.output,
        "total_tokens": reply.usage.input + reply.usage.output,
        "prompt_tokens_details": {"cached_tokens": reply.usage.cached},
        "completion_tokens_details": {"reasoning_tokens": reply.usage.reasoning},
    }
