"""What the agent tells: thoughts, tool calls with their results, and at the end one final report or one error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ErrorKind = Literal["failed", "api_error", "auth_error", "quota", "limit"]


@dataclass(frozen=True)
class Thought:
    """Something that the model said on its way."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The model uses a tool; its result follows at once."""

    id: str
    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """What the tool gave back, as the model reads it."""

    id: str
    ok: bool
    output: str
    denied: bool = False
    """by the policy"""


@dataclass(frozen=True)
class FinalReport:
    """The last event of a run that did its part."""

    summary: str
    files_changed: tuple[str, ...] = ()
    commands_verified: tuple[str, ...] = ()
    synthesised: bool = False
    """the model never reported; this was made from what it had done"""
    tier: int = 0
    """0: the model's own. 1: work that a command verified after the last change. 2: work that nothing verified."""
    diff: str = ""


@dataclass(frozen=True)
class Failure:
    """The last event of any other run."""

    kind: ErrorKind
    message: str
    retryable: bool = False
    retry_after_seconds: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Event = Thought | ToolCall | ToolResult | FinalReport | Failure

TYPES: dict[type[Any], str] = {
    Thought: "thought",
    ToolCall: "tool_call",
    ToolResult: "tool_result",
    FinalReport: "final_report",
    Failure: "error",
}


def to_json(event: Event) -> dict[str, Any]:
    """{type: thought|tool_call|tool_result|final_report|error, data}."""
    return {"type": TYPES[type(event)], "data": asdict(event)}
