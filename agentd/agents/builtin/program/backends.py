"""The two dialects that the agent speaks, each a translation of the conversation and of the answer to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .conversation import Call, Entry

MAX_OUTPUT_TOKENS = 8192
"""Of one answer; Anthropic's service wants to be told."""


@dataclass(frozen=True)
class Tool:
    """A tool as it is offered; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    """One answer of the model."""

    entry: Entry
    is_cut: bool
    """the answer was longer than it may be, and goes on"""
    input_tokens: int
    output_tokens: int
    cached_tokens: int


class Backend(Protocol):
    """One service's dialect; the functions do no I/O."""

    path: str
    """behind the base address"""

    def headers(self, key: str) -> dict[str, str]:
        """Those that carry the key and the version."""
        ...

    def body(self, model: str, system: str, entries: Sequence[Entry], tools: Sequence[Tool]) -> dict[str, Any]:
        """The request."""
        ...

    def read(self, answer: Any) -> Turn:
        """The answer. Raises KeyError, TypeError, ValueError, AttributeError or IndexError for what is none."""
        ...


class Messages:
    """Anthropic Messages (docs.anthropic.com/en/api/messages)."""

    path = "/v1/messages"

    def headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}

    def body(self, model: str, system: str, entries: Sequence[Entry], tools: Sequence[Tool]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for entry in entries:
            role = "assistant" if entry.role == "assistant" else "user"
            # Results of one answer's calls, and what the user says after them, are one message.
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += self._blocks(entry)
            else:
                messages.append({"role": role, "content": self._blocks(entry)})
        offered = [{"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in tools]
        return {
            "model": model,
            "max_tokens": MAX_OUTPUT_TOKENS,
            "system": system,
            "messages": messages,
            "tools": offered,
        }

    def _blocks(self, entry: Entry) -> list[dict[str, Any]]:
        if entry.role == "tool":
            result = {"type": "tool_result", "tool_use_id": entry.call_id, "content": entry.text}
            return [result | ({"is_error": True} if entry.is_error else {})]
        if entry.blocks:
            return [dict(block) for block in entry.blocks]
        calls = [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.input)} for call in entry.calls
        ]
        return [*([{"type": "text", "text": entry.text}] if entry.text else []), *calls]

    def read(self, answer: Any) -> Turn:
        blocks, used = answer["content"], answer.get("usage") or {}
        text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        calls = tuple(
            Call(block["id"], block["name"], block["input"], json.dumps(block["input"]))
            for block in blocks
            if block["type"] == "tool_use"
        )
        if not (calls or text) and answer["stop_reason"] not in ("end_turn", "max_tokens"):
            raise ValueError(f"it says nothing and stopped with {answer['stop_reason']!r}")
        # A text block may not come back empty.
        kept = tuple(block for block in blocks if block["type"] != "text" or block["text"])
        cached = _count(used.get("cache_read_input_tokens"))
        fresh = _count(used.get("input_tokens")) + _count(used.get("cache_creation_input_tokens"))
        entry = Entry("assistant", text, calls, blocks=kept)
        is_cut = answer["stop_reason"] == "max_tokens"
        return Turn(entry, is_cut, fresh + cached, _count(used.get("output_tokens")), cached)


class Chat:
    """OpenAI chat completions (platform.openai.com/docs/api-reference/chat), as many other services speak it."""

    path = "/chat/completions"

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def body(self, model: str, system: str, entries: Sequence[Entry], tools: Sequence[Tool]) -> dict[str, Any]:
        offered = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in tools
        ]
        messages = [{"role": "system", "content": system}, *map(self._message, entries)]
        return {"model": model, "messages": messages, "tools": offered}

    def _message(self, entry: Entry) -> dict[str, Any]:
        if entry.role == "tool":
            return {"role": "tool", "tool_call_id": entry.call_id, "content": entry.text}
        message: dict[str, Any] = {"role": entry.role, "content": entry.text or None}
        if entry.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.raw}}
                for call in entry.calls
            ]
        elif not entry.text:
            message["content"] = ""
        return message

    def read(self, answer: Any) -> Turn:
        choice, used = answer["choices"][0], answer.get("usage") or {}
        message = choice["message"]
        calls = tuple(self._calls(message.get("tool_calls") or ()))
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise TypeError(f"its content is {type(text).__name__}")
        cached = _count((used.get("prompt_tokens_details") or {}).get("cached_tokens"))
        is_cut = choice.get("finish_reason") == "length"
        tokens = _count(used.get("prompt_tokens")), _count(used.get("completion_tokens"))
        return Turn(Entry("assistant", text, calls), is_cut, *tokens, cached)

    def _calls(self, listed: Iterable[Mapping[str, Any]]) -> Iterable[Call]:
        for call in listed:
            raw = str(call["function"].get("arguments") or "{}")
            try:
                given = json.loads(raw)
            except (ValueError, RecursionError):
                given = None
            yield Call(str(call["id"]), str(call["function"]["name"]), given, raw)


BACKENDS: dict[str, Backend] = {"messages": Messages(), "chat": Chat()}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
