"""`agentd follow`: the live output of a run."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings

RunId = Annotated[str | None, typer.Argument(help="A run; default: the newest one that runs, else the newest.")]


def follow(run_id: RunId = None, config: ConfigFile = None) -> None:
    """Print the output of a run's agent while it comes. Ends with the run; Ctrl-C only stops looking."""
    from agentd.clock import SystemClock
    from agentd.errors import AgentdError
    from agentd.states import ACTIVE
    from agentd.store import runs
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    store = open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=True)
    if run_id is None:
        active = runs.active_runs(store)
        newest = active[-1:] or runs.latest_runs(store, 1)
        if not newest:
            raise AgentdError("there is no run yet")
        run_id = newest[0].run_id
    found = runs.get_run(store, run_id)
    if found is None:
        raise AgentdError(f"{run_id}: no such run; `agentd runs list` shows them")
    log = settings.log_dir / "workers" / f"{run_id}.log"
    typer.echo(f"run {run_id} ({found.state}), log: {log}", err=True)
    position = 0
    while True:
        run = runs.get_run(store, run_id)
        if log.exists():
            with log.open("rb") as output:
                output.seek(position)
                while received := output.read(1 << 16):
                    position += len(received)
                    typer.echo(printable(received), nl=False)
        if run is None or run.state not in ACTIVE:
            break
        time.sleep(0.3)
    if run is not None:
        typer.echo(f"\nrun {run_id}: {run.state} {run.pr_url or run.reason}", err=True)


def printable(data: bytes) -> str:
    """Text without what could move a terminal's cursor or change its settings: an agent's output is untrusted."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in data.decode(errors="replace"))
