"""The practice model in the dialect of OpenAI Responses (platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agentd.practice.model_chat import Frame, error
from agentd.practice.model_tools import Reply, Tool

__all__ = ["answer", "error", "frames", "tools"]


def tools(body: Mapping[str, Any]) -> list[Tool]:
    """The tools the request offers: also those in a namespace, and those that stand among the input (codex)."""
    history = body.get("input")
    items = history if isinstance(history, list) else []
    offered = [*(body.get("tools") or ()), *(item for item in items if item.get("type") == "additional_tools")]
    return [
        Tool(tool["name"], tool.get("parameters") or {}, code=tool["type"] == "custom")
        for tool in _flat(offered)
        if tool.get("type") == "function" or (tool.get("type") == "custom" and tool.get("name") == "exec")
    ]


def _flat(offered: Any) -> Iterator[Mapping[str, Any]]:
    for tool in offered:
        yield tool
        yield from _flat(tool.get("tools") or ())


def answer(reply: Reply, model: str, reply_id: str) -> dict[str, Any]:
    """The whole answer, not streamed."""
    return _response(reply, model, reply_id, "completed", _items(reply, reply_id))


def frames(reply: Reply, model: str, reply_id: str, body: Mapping[str, Any]) -> list[Frame]:
    """The streamed answer, each event with its name and a running number."""
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(reply, model, reply_id, "in_progress", [])}
    ]
    for index, item in enumerate(_items(reply, reply_id)):
        events += _item_events(index, item)
    events.append({"type": "response.completed", "response": answer(reply, model, reply_id)})
    return [(event["type"], json.dumps(event | {"sequence_number": number})) for number, event in enumerate(events)]


def _item_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    where = {"output_index": index, "item_id": item["id"]}
    begun = item | {"status": "in_progress"}
    added = {"type": "response.output_item.added", "output_index": index, "item": begun}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    if item["type"] == "message":
        part = item["content"][0]
        empty = part | {"text": ""}
        return [
            {**added, "item": begun | {"content": []}},
            {"type": "response.content_part.added", **where, "content_index": 0, "part": empty},
            {"type": "response.output_text.delta", **where, "content_index": 0, "delta": part["text"], "logprobs": []},
            {"type": "response.output_text.done", **where, "content_index": 0, "text": part["text"], "logprobs": []},
            {"type": "response.content_part.done", **where, "content_index": 0, "part": part},
            done,
        ]
    if item["type"] == "function_call":
        return [
            {**added, "item": begun | {"arguments": ""}},
            {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]},
            {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]},
            done,
        ]
    return [added, done]


def _items(reply: Reply, reply_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.thinking:
        summary = [{"type": "summary_text", "text": reply.thinking}]
        items.append({"type": "reasoning", "id": f"rs_{reply_id}", "summary": summary})
    if reply.text:
        content = [{"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}]
        message = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        items.append(message | {"id": f"msg_{reply_id}"})
    for index, call in enumerate(reply.calls):
        item = {"call_id": f"call_{reply_id}_{index}", "name": call.name, "status": "completed"}
        if call.source is not None:
            items.append(item | {"type": "custom_tool_call", "id": f"ctc_{reply_id}_{index}", "input": call.source})
        else:
            arguments = json.dumps(call.input)
            items.append(item | {"type": "function_call", "id": f"fc_{reply_id}_{index}", "arguments": arguments})
    return items


def _response(reply: Reply, model: str, reply_id: str, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": reply.usage.input,
        "input_tokens_details": {"cached_tokens": reply.usage.cached},
        "output_tokens": reply.usage.output,
        "output_tokens_details": {"reasoning_tokens": reply.usage.reasoning},
        "total_tokens": reply.usage.input + reply.usage.output,
    }
    return {
        "id": f"resp_{reply_id}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": model,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if status == "completed" else None,
    }
