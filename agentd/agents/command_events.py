"""Output of any program as events, by the rules of its profile: a JSON object a line, and what its fields mean.

A program that exits with 0 when its model's service failed says so only there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentd.agents import command
from agentd.agents.events import (
    AgentEvent,
    Error,
    Final,
    Started,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    tool_kind,
)
from agentd.agents.outcomes import from_text
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Object, Parser, Transcript, json_lines, number
from agentd.errors import ConfigurationError
from agentd.model import EventRule, Profile

FIELDS = {
    "started": ("session_id", "model"),
    "text": ("text",),
    "tool_call": ("id", "name", "input"),
    "tool_result": ("id", "output", "failed"),
    "usage": ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    "final": ("text",),
    "error": ("message",),
}
"""What a rule may say of each event."""

_SUM = " + "


@dataclass(frozen=True)
class Mapped:
    """The adapter `command` for one profile whose output has rules."""

    profile: Profile

    def probe(self, executable: str | None, env: Mapping[str, str]) -> Found:
        """As `command`; raises ConfigurationError too for rules that cannot work."""
        _check(self.profile)
        return command.probe(executable, env)

    def launch(self, spec: LaunchSpec) -> Launch:
        """As `command`."""
        return command.launch(spec)

    def parser(self) -> EventParser:
        """Reads by the profile's rules; lines without one are kept raw."""
        rules, can_resume = self.profile.events.rules, bool(self.profile.resume)

        def read(line: Object, transcript: Transcript) -> list[AgentEvent] | None:
            found = [event for rule in rules if _fits(rule, line) for event in _events(rule, line)]
            if not can_resume:
                # A session that nothing can continue must not be handed on as one.
                found = [Started("", each.model) if isinstance(each, Started) else each for each in found]
            return found or None

        return Parser(json_lines(read))


def value_at(line: Any, pointer: str) -> Any:
    """What stands at a JSON pointer (RFC 6901); None where there is nothing."""
    value = line
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _check(profile: Profile) -> None:
    for position, rule in enumerate(profile.events.rules, start=1):
        unknown = [name for name in rule.fields if name not in FIELDS[rule.event]]
        if unknown:
            raise ConfigurationError(
                f"profile {profile.name!r}: rule {position} of its events gives {rule.event} the field {unknown[0]!r}; "
                f"it has {', '.join(FIELDS[rule.event])}"
            )
        pointers = [*rule.when, *(part for text in rule.fields.values() for part in text.split(_SUM))]
        wrong = next((pointer for pointer in pointers if not pointer.startswith("/")), None)
        if wrong is not None:
            raise ConfigurationError(
                f"profile {profile.name!r}: rule {position} of its events has {wrong!r}, which is no JSON pointer; "
                "one begins with /"
            )
    if not any(rule.event == "final" for rule in profile.events.rules):
        raise ConfigurationError(
            f"profile {profile.name!r}: its events have no rule for 'final', so no run could ever succeed; add one"
        )


def _fits(rule: EventRule, line: Object) -> bool:
    # By type too: in Python True equals 1.
    found = [(value_at(line, pointer), wanted) for pointer, wanted in rule.when.items()]
    return all(type(value) is type(wanted) and value == wanted for value, wanted in found)


def _events(rule: EventRule, line: Object) -> list[AgentEvent]:
    """The event of a rule that fits; none for words that say nothing."""
    at = {name: _value(line, text) for name, text in rule.fields.items()}
    match rule.event:
        case "started":
            return [Started(_text(at.get("session_id")), _text(at.get("model")))]
        case "text":
            said = _text(at.get("text"))
            return [Text(said)] if said.strip() else []
        case "tool_call":
            name, given = _text(at.get("name")), at.get("input")
            return [ToolCall(_text(at.get("id")), name, tool_kind(name), given if isinstance(given, dict) else {})]
        case "tool_result":
            return [ToolResult(_text(at.get("id")), not at.get("failed"), _text(at.get("output")))]
        case "usage":
            used, made, cached, thought = (number(at.get(name)) for name in FIELDS["usage"])
            return [Usage(used, made, cached, thought)]
        case "final":
            return [Final(_text(at.get("text")))]
        case "error":
            return [from_text(_text(at.get("message")), Error(rule.kind, "it reported an error", retryable=True))]


def _value(line: Object, pointers: str) -> Any:
    parts = pointers.split(_SUM)
    return value_at(line, parts[0]) if len(parts) == 1 else sum(number(value_at(line, part)) for part in parts)


def _text(value: Any) -> str:
    """A string, the text in a list of blocks, or nothing."""
    if isinstance(value, list):
        return "\n".join(str(part["text"]) for part in value if isinstance(part, dict) and "text" in part)
    return value if isinstance(value, str) else ""
