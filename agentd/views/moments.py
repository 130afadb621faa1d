"""What happens in a run as moments: one shape for state changes, what the agent does, and what verify prints."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentd.agents import AgentEvent, events
from agentd.plain import one_line, printable

Kind = Literal["state", "text", "thought", "tool", "result", "failed", "denied", "error", "usage", "verify", "output"]
MOST_LINES = 20
"""Of a diff or of what a tool printed; the rest is counted."""
DIFFS = (("old_string", "new_string"), ("old_str", "new_str"), ("oldText", "newText"), ("old", "new"))
"""What agents call the two sides of an edit."""
TEXTS = ("content", "file_text", "contents", "text")
PATCHES = ("diff", "patch", "unified_diff", "input")
PLACES = ("file_path", "path", "filePath", "filename", "pattern", "query", "url")


@dataclass(frozen=True)
class Moment:
    """One thing that happened. All of it is untrusted text without terminal controls."""

    run_id: str
    kind: Kind
    text: str
    lines: tuple[str, ...] = ()
    """a diff, or output"""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"run_id": self.run_id, "kind": self.kind, "text": self.text, "lines": list(self.lines)}


def moment_of(run_id: str, event: AgentEvent) -> Moment | None:
    """The moment of an agent's event; None for what nobody needs to see."""
    match event:
        case events.Started(model=model):
            return Moment(run_id, "state", f"the agent begins{f' ({one_line(model)})' if model else ''}")
        case events.Thought(text=text):
            return Moment(run_id, "thought", one_line(text))
        case events.Text(text=text) | events.Final(text=text):
            first, *rest = printable(text).strip().splitlines() or [""]
            return Moment(run_id, "text", first, _cut(rest))
        case events.ToolCall():
            return Moment(run_id, "tool", _called(event), _cut(_change(event.input)))
        case events.ToolResult(ok=ok, output=output):
            first, *rest = printable(output).strip().splitlines() or ["done" if ok else "failed"]
            return Moment(run_id, "result" if ok else "failed", first, _cut(rest))
        case events.Denied(reason=reason):
            return Moment(run_id, "denied", one_line(reason))
        case events.Error(message=message):
            return Moment(run_id, "error", one_line(message))
        case events.Retry(attempt=attempt, status=status):
            said = f"the model call is repeated ({attempt}){f', status {status}' if status else ''}"
            return Moment(run_id, "error", said)
        case events.Usage(input_tokens=given, output_tokens=made):
            return Moment(run_id, "usage", f"{given:,} tokens in, {made:,} out")
        case events.Raw(line=line):
            return Moment(run_id, "output", one_line(line)) if line.strip() else None


def _called(call: events.ToolCall) -> str:
    given = call.input
    command = given.get("command", given.get("cmd"))
    if command is not None:
        text = " ".join(str(word) for word in command) if isinstance(command, list) else str(command)
        return f"$ {one_line(text)}"
    place = next((given[name] for name in PLACES if isinstance(given.get(name), str)), "")
    return f"{one_line(call.name)} {one_line(str(place))}".strip()


def _change(given: Mapping[str, Any]) -> list[str]:
    """The lines of an edit: a diff of what it replaces, a patch, or what it writes."""
    for old, new in DIFFS:
        if isinstance(given.get(old), str) and isinstance(given.get(new), str):
            compared = difflib.unified_diff(given[old].splitlines(), given[new].splitlines(), lineterm="", n=1)
            return [line for line in compared if not line.startswith(("---", "+++"))]
    for name in PATCHES:
        if isinstance(given.get(name), str) and "\n" in given[name]:
            return str(given[name]).splitlines()
    for name in TEXTS:
        if isinstance(given.get(name), str):
            return [f"+{line}" for line in given[name].splitlines()]
    changes = given.get("changes", given.get("edits"))
    if isinstance(changes, list):
        return [line for each in changes if isinstance(each, Mapping) for line in [*_name(each), *_change(each)]]
    return []


def _name(change: Mapping[str, Any]) -> list[str]:
    place = next((change[name] for name in PLACES if isinstance(change.get(name), str)), "")
    return [f"{change.get('kind', 'change')} {place}"] if place else []


def _cut(lines: list[str]) -> tuple[str, ...]:
    shown = tuple(printable(line).replace("\n", " ") for line in lines[:MOST_LINES])
    more = len(lines) - MOST_LINES
    return (*shown, f"... {more} more lines") if more > 0 else shown
