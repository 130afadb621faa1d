"""`agentd events`: the file of events, checked against its schema and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

app = typer.Typer(help="events.jsonl: what other programs read of the ledger.", no_args_is_help=True)
File = Annotated[
    Path | None, typer.Argument(help="The file; default: AGENT_EVENTS_FILE, or events.jsonl of this installation.")
]


@app.command()
def validate(file: File = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Check every line against the published schema; each bad one is named, and the exit status is 1 then."""
    from agentd.store.event_lines import check_lines

    path = file or load_settings(config).settings.events
    good, bad = check_lines(path)
    if as_json:
        typer.echo(json.dumps({"file": str(path), "events": good, "problems": bad}, indent=2))
    else:
        for line in bad:
            typer.echo(line, err=True)
        typer.echo(f"Validated {good} event(s)" + (f", {len(bad)} problem(s)" if bad else ""))
    if bad:
        raise typer.Exit(1)


@app.command()
def tail(
    file: File = None,
    config: ConfigFile = None,
    as_json: Json = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last events.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """The last events of the file, a line each: time, type, status, task, run."""
    from agentd.store.event_lines import last_lines, lines_as_they_come

    path = file or load_settings(config).settings.events
    found, position = last_lines(path, lines)
    for line in found:
        _show(line, as_json)
    for line in lines_as_they_come(path, position) if follow else ():
        _show(line, as_json)


def describe(event: dict[str, Any]) -> str:
    """An event in one line. One of a later schema version is only named."""
    if event.get("schema_version") != 1:
        return f"an event of schema version {event.get('schema_version')}, which this agentd does not read"
    kept = ("timestamp", "event_type", "status", "task_id", "run_id")
    at, kind, status, task, run = (_plain(event.get(name)) for name in kept)
    said = ", ".join(
        f"{key} {_plain(value)}" for key, value in event.get("data", {}).items() if value not in (None, "")
    )
    return f"{at[:19]} {kind:18} {status:7} {task} {run}  {said}".rstrip()[:240]


def _show(line: str, as_json: bool) -> None:
    if as_json:
        typer.echo(line)
        return
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    typer.echo(describe(event) if isinstance(event, dict) else f"no event: {_plain(line)[:80]}")


def _plain(value: Any) -> str:
    """A value as one line that a terminal only shows."""
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
