"""`agentd stop` and `agentd restart`."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Repo, load_settings

if TYPE_CHECKING:
    from pathlib import Path

Now = Annotated[bool, typer.Option("--now", help="End the agents too; their work stays and goes on at the next start.")]
STOP_NOW_SECONDS = 30.0


def stop(config: ConfigFile = None, now: Now = False) -> None:
    """Stop the supervisor. Running runs are let end; with --now they are interrupted and go on at the next start."""
    end(load_settings(config).settings.state_dir, now=now)


def restart(repo: Repo = None, config: ConfigFile = None) -> None:
    """Stop the supervisor now and start it again; interrupted runs go on."""
    from agentd.cli.start import start

    end(load_settings(config, repo=repo).settings.state_dir, now=True)
    start(repo=repo, config=config)


def end(state_dir: Path, *, now: bool) -> None:
    """Ask the supervisor to end, and wait until it has. Raises AgentdError when it does not."""
    from agentd.errors import AgentdError
    from agentd.supervisor.process import running

    found = running(state_dir)
    if found is None:
        typer.echo("the supervisor is not running")
        return
    if now or not found.drains:  # a second signal would end the agents
        os.kill(found.pid, signal.SIGTERM)
    if not now:
        typer.echo(f"process {found.pid} drains: it starts nothing more and ends after its runs (--now ends them)")
    else:
        time.sleep(0.1)
        if running(state_dir) == found:
            os.kill(found.pid, signal.SIGTERM)
    give_up = time.monotonic() + STOP_NOW_SECONDS
    while running(state_dir) == found:
        if now and time.monotonic() > give_up:
            raise AgentdError(f"process {found.pid} is still there after {STOP_NOW_SECONDS:.0f} s; see supervisor.log")
        time.sleep(0.05)
    typer.echo("stopped")
