"""The dialects that agents speak: their paths, what a request asks for, and the shape of their errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentd.config_tables import Dialect

PATHS: dict[str, Dialect] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
COUNT_TOKENS = "/v1/messages/count_tokens"
MODELS = "/v1/models"
_MODEL = re.compile(r"[A-Za-z0-9._:/@+~-]{1,200}")
_LIMITS = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
MOST_OUTPUT_TOKENS = 1_000_000
"""What one call may reserve at most: more is no model's answer, and would only lock others out."""
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class BadRequest(ValueError):
    """The body is not what its path wants; the message says why."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    body: bytes
    """as it goes to the service"""
    as_wanted: bytes
    """the same, but a stream tells its usage only where the client asks for that"""
    model: str
    beside: tuple[str, ...]
    """models that it names beside that one"""
    is_stream: bool
    max_output_tokens: int | None
    """all choices together; None when it does not say"""


def read_request(dialect: Dialect, raw: bytes, extra: Mapping[str, Any]) -> Asked:
    """The request with `extra` merged in. Bytes stay as they are where nothing is to be changed. Raises BadRequest."""
    body = parse_object(raw)
    if extra:
        body = merged(body, extra)
    _check_shape(dialect, body)
    is_stream = body.get("stream") is True
    options = body.get("stream_options")
    as_wanted = sent = _encoded(body) if extra else raw
    if dialect == "chat" and is_stream and not (isinstance(options, Mapping) and options.get("include_usage") is True):
        kept = options if isinstance(options, Mapping) else {}
        sent = _encoded({**body, "stream_options": {**kept, "include_usage": True}})
    return Asked(sent, as_wanted, model_of(body), _models_beside(body), is_stream, _max_output(dialect, body))


def model_of(body: Mapping[str, Any]) -> str:
    """The model that is asked for. Raises BadRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        raise BadRequest("`model` must be a model's name of at most 200 letters, digits and . _ : / @ + ~ -")
    return model


def _models_beside(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that OpenRouter and LiteLLM turn to instead, and those that tools of Anthropic's and OpenAI's use.

    Not Anthropic's own `fallbacks`, which are objects: Claude Code names them unasked, and Anthropic says which may be.
    """
    entries = {name: body[name] for name in ("models", "fallbacks", "tools") if isinstance(body.get(name), list)}
    named = [*entries.get("models", ()), *entries.get("fallbacks", ())]
    named += [tool.get("model") for tool in entries.get("tools", ()) if isinstance(tool, Mapping)]
    return tuple(name for name in named if isinstance(name, str))


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object. A name that stands twice is refused: two readers may take different ones. Raises BadRequest."""
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except BadRequest:
        raise
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; objects are merged name by name, and of anything else `extra` wins."""
    result = dict(body)
    for key, value in extra.items():
        mine = result.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        result[key] = merged(mine, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return result


def error_body(dialect: Dialect, status: int, code: str, message: str) -> dict[str, Any]:
    """An error as the dialect's clients read it."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if dialect == "messages":
        return {"type": "error", "error": {"type": kind, "message": message, "code": code}}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _check_shape(dialect: Dialect, body: Mapping[str, Any]) -> None:
    if "stream" in body and not isinstance(body["stream"], bool) and body["stream"] is not None:
        raise BadRequest("`stream` must be true or false")
    if dialect == "responses":
        if body.get("background"):
            raise BadRequest("`background` is not served: the service would go on while nobody counts")
        if not {"input", "prompt", "conversation", "previous_response_id"} & body.keys() or "messages" in body:
            raise BadRequest("this path takes OpenAI Responses requests, with `input`")
    elif not isinstance(body.get("messages"), list):
        name = "OpenAI chat completions" if dialect == "chat" else "Anthropic Messages"
        raise BadRequest(f"this path takes {name} requests, with a list of `messages`")
    elif dialect == "messages" and not _is_count(body.get("max_tokens")):
        raise BadRequest("this path takes Anthropic Messages requests, with `max_tokens`")


def _max_output(dialect: Dialect, body: Mapping[str, Any]) -> int | None:
    # Of two the larger: services differ in which of them they read.
    found = max((body[name] for name in _LIMITS[dialect] if _is_count(body.get(name))), default=None)
    if found is None:
        return None
    choices = body.get("n") if dialect == "chat" and _is_count(body.get("n")) else 1
    return min(int(found) * max(1, int(choices or 1)), MOST_OUTPUT_TOKENS)


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half of a character, where an agent cut a text: in JSON only its escape can say it.
        return json.dumps(body, separators=(",", ":")).encode()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("a name stands twice in one object of the body")
    return found


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name}")
