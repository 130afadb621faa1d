"""`agentd claims list|break`."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

app = typer.Typer(help="Claims: who may act for which task, and ending a dead one by hand.", no_args_is_help=True)


@app.command("list")
def list_claims(config: ConfigFile = None, as_json: Json = False) -> None:
    """The claims of this installation with the seconds that are left of each."""
    from agentd.views.status import status

    found = status(load_settings(config).settings, os.environ)["claims"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for claim in found:
        typer.echo(
            f"{claim['task_id']} generation {claim['generation']} {claim['seconds_left']:.0f} s {claim['holder']}"
        )


@app.command("break")
def break_claim(task_id: Annotated[str, typer.Argument(help="The task.")], config: ConfigFile = None) -> None:
    """End a claim whose holder is gone. A living run of the task is refused: cancel it instead."""
    from agentd.clock import SystemClock
    from agentd.errors import AgentdError
    from agentd.store import claims, runs
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    store = open_store(settings.database_url, settings.state_dir, SystemClock(), create=False)
    living = [run.run_id for run in runs.active_runs(store) if run.task_id == task_id]
    if living:
        raise AgentdError(f"{task_id}: run {living[0]} is not over; `agentd runs cancel {living[0]}` ends it")
    typer.echo(f"{task_id}: {'claim ended' if claims.drop(store, task_id) else 'there was no claim'}")
