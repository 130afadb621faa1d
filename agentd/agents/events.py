"""What an agent did, in one vocabulary for all of them, and how its run ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

MOST_TOKENS = 10**15
"""More than anybody uses. What an agent says of itself has no bounds, and the store's numbers have."""

ToolKind = Literal["shell", "write", "edit", "read", "net", "other"]

OutcomeKind = Literal[
    "success",
    "failed",
    "api_error",
    "auth_error",
    "quota",
    "limit",
    "timeout",
    "cancelled",
    "no_change",
]
"""success: the agent says it is done (whether it is, verify decides). failed: it ended otherwise.
api_error: the model's service failed. auth_error: it refused the key. quota: a rate limit, a subscription or credit is
used up. limit: a turn or budget limit of the agent's own. timeout: its own time limit. cancelled: a signal ended it.
no_change: never by a parser; for whoever compares the trees."""


@dataclass(frozen=True)
class Started:
    """The agent has begun; `session_id` is what `LaunchSpec.resume` takes."""

    session_id: str
    model: str = ""


@dataclass(frozen=True)
class Thought:
    """Reasoning that the agent showed."""

    text: str


@dataclass(frozen=True)
class Text:
    """Something the agent said."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The agent uses a tool; `kind` is the same word for every agent."""

    id: str
    name: str
    kind: ToolKind
    input: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """What the tool gave back; `ok` is the agent's own judgement."""

    id: str
    ok: bool
    output: str


@dataclass(frozen=True)
class Denied:
    """The agent was refused a tool call; `id` is empty where it does not say which."""

    id: str
    reason: str


@dataclass(frozen=True)
class Usage:
    """Tokens used. `input_tokens` includes `cached_tokens`, `output_tokens` includes `reasoning_tokens`.

    A "delta" adds to what came before, a "total" stands for everything so far. In a resumed session codex's total
    counts the runs before it too.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    scope: Literal["delta", "total"] = "delta"


@dataclass(frozen=True)
class Retry:
    """The agent will repeat a model call; `status` is None when there was no HTTP answer."""

    attempt: int
    status: int | None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Final:
    """The agent's last word: it holds its work for done."""

    text: str


@dataclass(frozen=True)
class Error:
    """The agent reported an error; `kind` is what the run's outcome would be if it ended here."""

    kind: OutcomeKind
    message: str
    retryable: bool = False
    retry_after_seconds: float | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Raw:
    """A line that no parser knows, kept as it came (undecodable bytes replaced)."""

    line: str


AgentEvent = Started | Thought | Text | ToolCall | ToolResult | Denied | Usage | Retry | Final | Error | Raw


@dataclass(frozen=True)
class Outcome:
    """How the agent's run ended, judged by its events first and its exit status second."""

    kind: OutcomeKind
    message: str = ""
    retryable: bool = False
    """Whether the same run may succeed later without anybody changing anything."""
    retry_after_seconds: float | None = None
    retry_at: datetime | None = None
    """When the service said it will serve again (aware, UTC)."""
    session_id: str | None = None
    usage: Usage = Usage(scope="total")


def add_usage(total: Usage, new: Usage) -> Usage:
    """The total after `new`; its scope is "total"."""
    if new.scope == "total":
        return new
    cost = None if total.cost_usd is None and new.cost_usd is None else (total.cost_usd or 0) + (new.cost_usd or 0)
    return Usage(
        min(total.input_tokens + new.input_tokens, MOST_TOKENS),
        min(total.output_tokens + new.output_tokens, MOST_TOKENS),
        min(total.cached_tokens + new.cached_tokens, MOST_TOKENS),
        min(total.reasoning_tokens + new.reasoning_tokens, MOST_TOKENS),
        cost,
        "total",
    )


def tool_kind(name: str) -> ToolKind:
    """The kind of a tool by the name that an agent gives it."""
    return _KINDS.get(name.lower(), "other")


_NAMES: dict[ToolKind, str] = {
    "shell": "bash shell execute exec_command run_shell_command command_execution local_shell",
    "write": "write write_file create_file",
    "edit": "edit edit_file multiedit notebookedit apply_patch file_change replace str_replace",
    "read": "read read_file glob grep ls list_directory search_file_content view_image",
    "net": "webfetch web_fetch fetch_url websearch web_search http_request google_web_search",
}
_KINDS: dict[str, ToolKind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
