"""What a call has used, read from the bytes that pass by. Numbers that cannot be are no numbers: the caller estimates.

Sources: docs.anthropic.com/en/api/messages-streaming, platform.openai.com/docs/api-reference (chat streaming: the last
chunk; responses: `response.completed` or `response.incomplete`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentd.config_tables import Dialect

MOST_TOKENS = 1_000_000_000
"""More is no count of one call."""
LONGEST_LINE = 32 * 1024 * 1024
LONGEST_ANSWER = 64 * 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """Tokens of one call."""

    input: int = 0
    """with what came from a cache and what was put into one"""
    output: int = 0
    """with reasoning"""
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    hour_write: int = 0
    """the part of `cache_write` that stays for an hour"""
    searches: int = 0
    """of the web, by the service"""
    beside: tuple[tuple[str, Usage], ...] = ()
    """what else the service did for the call, and not in the numbers above: by model, empty for the one of the call"""

    @property
    def tokens(self) -> int:
        return self.input + self.output

    @property
    def whole(self) -> Usage:
        """With what stands beside it."""
        every = (self, *(each for _, each in self.beside))
        return Usage(
            input=sum(each.input for each in every),
            output=sum(each.output for each in every),
            cached=sum(each.cached for each in every),
            cache_write=sum(each.cache_write for each in every),
            reasoning=sum(each.reasoning for each in every),
            hour_write=sum(each.hour_write for each in every),
            searches=sum(each.searches for each in every),
        )


class Tee:
    """Listens to one answer. `feed` it everything, then ask for `usage`."""

    def __init__(self, dialect: Dialect, *, is_stream: bool) -> None:
        self._dialect, self._is_stream = dialect, is_stream
        self._rest = bytearray()
        self._is_deaf = False
        self._seen: dict[str, Any] = {}
        self._ended = False
        self.pieces = 0
        """events of the stream so far, most of them with a token or more"""

    def feed(self, data: bytes) -> None:
        """The next bytes, cut anywhere."""
        if self._is_deaf:
            if self._is_stream and b"\n" in data:
                self._is_deaf = False
                data = data[data.index(b"\n") + 1 :]
            else:
                return
        self._rest += data
        if self._is_stream and b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._line(line)
        if len(self._rest) > (LONGEST_LINE if self._is_stream else LONGEST_ANSWER):
            self._rest.clear()
            self._is_deaf = True

    def usage(self, *, is_whole: bool) -> Usage | None:
        """What was told for good; None when that did not come, or cannot be believed.

        `is_whole` says that the service closed the answer as it should. A client may hang up before that, as soon as it
        has read the last event, and has had it all.
        """
        if not self._is_stream:
            if is_whole and not self._is_deaf:
                self._take(_object(bytes(self._rest)).get("usage"))
                self._ended = True
        elif is_whole and self._rest:
            self._line(bytes(self._rest))
        if is_whole and self._dialect == "chat":
            self._ended = True
        return usage_of(self._dialect, self._seen) if self._ended else None

    def partial(self) -> Usage | None:
        """What was told before the answer broke off: it used at least this."""
        return usage_of(self._dialect, self._seen)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        self.pieces += 1
        if self._dialect == "chat" and line[5:].strip() == b"[DONE]":
            self._ended = bool(self._seen)
            return
        if b'"usage"' not in line:
            return
        event = _object(line[5:])
        if self._dialect == "chat":
            # Some services add the usage so far to every chunk; the last one has no choices.
            if self._take(event.get("usage")) and event.get("choices") == []:
                self._ended = True
        elif self._dialect == "responses":
            if event.get("type") in ("response.completed", "response.incomplete", "response.failed"):
                response = event.get("response")
                if isinstance(response, Mapping) and self._take(response.get("usage")):
                    self._ended = True
        elif event.get("type") == "message_start":
            message = event.get("message")
            self._take(message.get("usage") if isinstance(message, Mapping) else None)
        elif event.get("type") == "message_delta" and self._take(event.get("usage")):
            self._ended = "output_tokens" in event["usage"]

    def _take(self, usage: object) -> bool:
        """Keep what is new."""
        if not isinstance(usage, Mapping):
            return False
        self._seen = _joined(self._seen, usage)
        return True


def _joined(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Later numbers stand instead of earlier ones. Noughts do not: some services end with one for what they told."""
    found = dict(earlier)
    for name, value in later.items():
        mine = found.get(name)
        if isinstance(mine, Mapping) and isinstance(value, Mapping):
            found[name] = _joined(mine, value)
        elif value or mine is None:
            found[name] = value
    return found


def usage_of(dialect: Dialect, told: Mapping[str, Any]) -> Usage | None:
    """Usage from the dialect's own names; None when a number is missing or cannot be."""
    try:
        if dialect == "messages":
            found = replace(_anthropic(told), beside=_beside(told))
        elif dialect == "responses":
            found = _openai(told, "input_tokens", "output_tokens")
        else:
            found = _openai(told, "prompt_tokens", "completion_tokens")
    except (KeyError, ValueError):
        return None
    parts = found.cached + found.cache_write <= found.input and found.reasoning <= found.output
    # No call is free of tokens: a service that says so has not counted.
    return found if parts and found.tokens > 0 else None


def _anthropic(told: Mapping[str, Any]) -> Usage:
    cached, hour = _count(told, "cache_read_input_tokens"), _detail(told, "cache_creation", "ephemeral_1h_input_tokens")
    parts = hour + _detail(told, "cache_creation", "ephemeral_5m_input_tokens")
    written = max(parts, _count(told, "cache_creation_input_tokens"))
    # Here, unlike with OpenAI, the input count leaves out what has to do with the cache.
    whole = _count(told, "input_tokens", needed=True) + cached + written
    return Usage(
        whole,
        _count(told, "output_tokens", needed=True),
        cached,
        written,
        hour_write=hour,
        searches=_detail(told, "server_tool_use", "web_search_requests"),
    )


def _beside(told: Mapping[str, Any]) -> tuple[tuple[str, Usage], ...]:
    """What an adviser said, and what making a conversation shorter took: the numbers of the call are without it."""
    rounds = told.get("iterations")
    aside = [
        each
        for each in (rounds if isinstance(rounds, list) else ())
        if isinstance(each, Mapping) and each.get("type") in ("advisor_message", "compaction")
    ]
    return tuple((str(each.get("model") or ""), _anthropic(each)) for each in aside)


def _openai(told: Mapping[str, Any], input_name: str, output_name: str) -> Usage:
    whole, output = _count(told, input_name, needed=True), _count(told, output_name, needed=True)
    cached = _detail(told, f"{input_name}_details", "cached_tokens")
    written = _detail(told, f"{input_name}_details", "cache_write_tokens")
    if cached <= whole < cached + written:  # OpenRouter counts what is put into the cache among what came from it, too
        cached = max(0, whole - written)
    # Gemini and Grok leave their reasoning out of the output, and have it in the total only.
    output = max(output, _count(told, "total_tokens") - whole)
    return Usage(whole, output, cached, written, reasoning=_detail(told, f"{output_name}_details", "reasoning_tokens"))


def _count(told: Mapping[str, Any], name: str, *, needed: bool = False) -> int:
    value = told[name] if needed else told.get(name, 0)
    if value is None and not needed:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(name)
    return value


def _detail(told: Mapping[str, Any], group: str, name: str) -> int:
    details = told.get(group)
    return _count(details, name) if isinstance(details, Mapping) else 0


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
