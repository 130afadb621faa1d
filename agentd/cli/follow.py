"""`agentd follow`: what runs do, while they do it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings
from agentd.plain import storable

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.views.moments import Moment

LOOK_SECONDS = 0.3
MARKS = {"tool": "> ", "result": "< ", "failed": "! ", "denied": "x ", "error": "! ", "verify": "| ", "state": "== "}
"""What a line begins with, so that it can be told without colours."""
COLOURS = {"tool": "cyan", "failed": "red", "denied": "red", "error": "red", "verify": "blue", "state": "magenta"}
RunIds = Annotated[
    list[str] | None,
    typer.Argument(help="Runs; default: the newest one under way, else the newest.", metavar="[RUN]..."),
]


def follow(
    run_ids: RunIds = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that is under way.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The output of the agent as it came.")] = False,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Show what runs do: states, tool calls, changes, the output of verify. Ends with them; Ctrl-C only stops looking.

    Of several runs each line begins with the task. With --json a line is one object for programs.
    """
    from agentd.views.following import chosen

    settings = load_settings(config).settings
    wanted = list(dict.fromkeys(storable(run_ids or []))) or chosen(settings, every=every)
    if raw:
        _raw(settings, wanted)
    else:
        _moments(settings, wanted, as_json)


def _moments(settings: Settings, run_ids: list[str], as_json: bool) -> None:
    from agentd.views.following import follow_all

    look = follow_all(settings, os.environ, run_ids)
    told: set[str] = set()
    while True:
        moments, ended = look()
        for moment in moments:
            _tell(moment, run_ids, as_json)
        for run in ended:
            if run["run_id"] not in told and not as_json:
                typer.echo(f"run {run['run_id']}: {run['state']} {run['pr_url'] or run['reason']}".rstrip(), err=True)
            told.add(run["run_id"])
        if len(told) == len(run_ids):
            return
        time.sleep(LOOK_SECONDS)


def _tell(moment: Moment, run_ids: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(moment.to_json()))
        return
    if moment.kind == "usage":
        return
    before = f"{_short(moment.run_id):12} " if len(run_ids) > 1 else ""
    lines = [f"{MARKS.get(moment.kind, '')}{moment.text}", *(f"    {line}" for line in moment.lines)]
    for number, line in enumerate(lines):
        typer.echo(_coloured(_fitting(f"{before}{line}"), moment.kind, line if number else ""))


def _short(run_id: str) -> str:
    """The task of a run's id."""
    return run_id.rsplit("-", 2)[0]


def _fitting(line: str) -> str:
    """The line, cut to the terminal's width; whole where nobody looks."""
    from agentd.cli.tables import NARROWEST, is_terminal, width

    return line[: max(NARROWEST, width())] if is_terminal() else line


def _coloured(line: str, kind: str, detail: str) -> str:
    from agentd.cli.tables import in_colour

    if not in_colour():
        return line
    change = {"+": "green", "-": "red"}.get(detail.strip()[:1]) if kind == "tool" else None
    return typer.style(line, fg=change or COLOURS.get(kind), dim=kind in ("thought", "result") or None)


def _raw(settings: Settings, run_ids: list[str]) -> None:
    """The agents' output without what could move the cursor, and without secrets."""
    from agentd.doctor.secrecy import secrets_of, without
    from agentd.plain import printable
    from agentd.views.following import Tail, follow_all, log_of

    look, secrets = follow_all(settings, os.environ, run_ids), secrets_of(settings, os.environ)
    tails = {run_id: Tail(log_of(settings, run_id)) for run_id in run_ids}
    for run_id in run_ids:
        typer.echo(f"run {run_id}, log: {log_of(settings, run_id)}", err=True)
    while True:
        ended = {run["run_id"]: run for run in look()[1]}
        for run_id, tail in tails.items():
            before = f"{_short(run_id):12} " if len(run_ids) > 1 else ""
            for line in tail.lines() + (tail.last() if run_id in ended else []):
                typer.echo(before + without(printable(line.decode(errors="replace")), secrets))
        if len(ended) == len(run_ids):
            for run in ended.values():
                typer.echo(f"run {run['run_id']}: {run['state']} {run['pr_url'] or run['reason']}".rstrip(), err=True)
            return
        time.sleep(LOOK_SECONDS)
