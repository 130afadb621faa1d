"""`agentd workers list|drain|resume`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.store.connection import Store

app = typer.Typer(help="Workers: which processes carry runs, and letting one take no more.", no_args_is_help=True)
Place = Annotated[str, typer.Argument(help="The place, as `agentd workers list` shows it.", metavar="HOST/ID")]


@app.command("list")
def list_workers(config: ConfigFile = None, as_json: Json = False) -> None:
    """Every process that carries runs: what it has room for, its agents, and its heartbeat."""
    from agentd.store import executors, runs

    store = _store(config)
    carried = [run.executor for run in runs.active_runs(store)]
    rows = [
        {**asdict(found), "carries": carried.count(found.executor), "seconds_left": round(found.seconds_left, 1)}
        for found in executors.all_executors(store)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = row["closed"] or ("it is drained" if row["drain"] else "takes runs")
        beat = "" if row["seconds_left"] else ", heartbeat overdue"
        role = "supervisor" if row["leads"] else "worker"
        typer.echo(f"{row['place']} {role} {row['version']}: {row['carries']} of {row['capacity']} runs, {state}{beat}")
        typer.echo(f"  agents: {', '.join(row['agents']) or 'none'}")
    if not rows:
        typer.echo("no process carries runs; `agentd start` or `agentd worker` begins one")


@app.command()
def drain(place: Place, config: ConfigFile = None) -> None:
    """Let a worker take no more runs; those that it has go on. Holds until its process ends, or `resume`."""
    _set(place, config, drain=True)
    typer.echo(f"{place}: takes no more runs; `agentd workers list` shows when it carries none")


@app.command()
def resume(place: Place, config: ConfigFile = None) -> None:
    """Let a drained worker take runs again."""
    _set(place, config, drain=False)
    typer.echo(f"{place}: takes runs")


def _set(place: str, config: Path | None, *, drain: bool) -> None:
    from agentd.errors import AgentdError
    from agentd.store import executors

    if not executors.set_drain(_store(config, read_only=False), place, drain):
        raise AgentdError(f"{place}: no such worker; `agentd workers list` shows them")


def _store(config: Path | None, *, read_only: bool = True) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    return open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=read_only)
