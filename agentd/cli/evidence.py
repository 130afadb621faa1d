"""`agentd evidence show|check RUN`: what a run left for others to check."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.evidence.making import Sources

app = typer.Typer(help="Evidence: what a run did, in files that can be checked.", no_args_is_help=True)
RunId = Annotated[str, typer.Argument(help="The run's id.")]


@app.command()
def show(run_id: RunId, config: ConfigFile = None, as_json: Json = False) -> None:
    """The report of a run and where its files are; with --json its manifest."""
    from agentd.evidence.files import MANIFEST, REPORT

    folder = _sources(config).folder(run_id)
    name = MANIFEST if as_json else REPORT
    text = _read(folder / name, run_id)
    if as_json:
        typer.echo(json.dumps({**json.loads(text), "folder": str(folder)}, indent=2))
        return
    typer.echo("".join(c if c.isprintable() or c == "\n" else " " for c in text))
    typer.echo(f"Files in {folder}")


@app.command()
def check(run_id: RunId, config: ConfigFile = None, as_json: Json = False) -> None:
    """Whether the files are whole, and say what the store says. Exit status 1 when they do not."""
    from agentd.evidence.making import evidence_for
    from agentd.evidence.writing import policy_of, problems

    sources = _sources(config)
    folder = sources.folder(run_id)
    sources = replace(sources, policy_sha=policy_of(folder))
    try:
        again = evidence_for(sources, run_id)
    except LookupError:
        found = [f"{run_id}: the store does not have this run, so only the files could be compared"]
        found = problems(folder) + found
    else:
        found = problems(folder, again)
    if as_json:
        typer.echo(json.dumps({"run_id": run_id, "ok": not found, "problems": found}, indent=2))
    else:
        for line in found or [f"{run_id}: the evidence is whole, and it is what the store says"]:
            typer.echo(line)
    if found:
        raise typer.Exit(1)


def _sources(config: Path | None) -> Sources:
    from agentd.clock import SystemClock
    from agentd.evidence.making import Sources
    from agentd.git.mirror import known_mirror
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    store = open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=True)
    return Sources(settings, store, known_mirror(settings), os.environ)


def _read(path: Path, run_id: str) -> str:
    from agentd.errors import AgentdError

    try:
        return path.read_text()
    except OSError as error:
        raise AgentdError(
            f"{path}: {error.strerror}; evidence of {run_id} is written at its end and goes with its files "
            "(`agentd runs list` shows the runs)"
        ) from None
