"""Live output of runs as plain lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from agentd.agents import AgentEvent

WIDTH = 160


def live_printer() -> Callable[[str, AgentEvent | str], None]:
    """Prints each event of an agent as one line, the run's id before it."""

    def show(run_id: str, event: AgentEvent | str) -> None:
        line = describe(event)
        if line:
            typer.echo(f"  {run_id}  {line[:WIDTH]}")

    return show


def describe(event: AgentEvent | str) -> str:
    """An event in one line; empty for what nobody reads live."""
    from agentd.agents import events

    match event:
        case str():
            return event
        case events.Text(text=text) | events.Final(text=text):
            return _one(text)
        case events.ToolCall(name=name, input=given):
            return f"> {name} {_one(str(given))}"
        case events.ToolResult(ok=ok, output=output):
            return f"{'<' if ok else '!'} {_one(output)}"
        case events.Denied(reason=reason):
            return f"denied: {_one(reason)}"
        case events.Error(message=message):
            return f"error: {_one(message)}"
        case events.Raw(line=line):
            return _one(line)
        case _:
            return ""


def _one(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
