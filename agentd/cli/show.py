"""Live output of runs as plain lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from agentd.plain import one_line

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
            return one_line(event)
        case events.Text(text=text) | events.Final(text=text):
            return one_line(text)
        case events.ToolCall(name=name, input=given):
            return f"> {one_line(name)} {one_line(str(given))}"
        case events.ToolResult(ok=ok, output=output):
            return f"{'<' if ok else '!'} {one_line(output)}"
        case events.Denied(reason=reason):
            return f"denied: {one_line(reason)}"
        case events.Error(message=message):
            return f"error: {one_line(message)}"
        case events.Raw(line=line):
            return one_line(line)
        case _:
            return ""
