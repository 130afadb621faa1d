"""`agentd worker`: this host carries runs that a supervisor elsewhere admits."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from agentd.cli.options import ConfigFile, Repo, ready_settings

Capacity = Annotated[int | None, typer.Option("--host-max-parallel", help="Runs at the same time on this host.")]


def worker(repo: Repo = None, config: ConfigFile = None, host_max_parallel: Capacity = None) -> None:
    """Carry runs on this host, in the foreground, for the supervisor that shares its PostgreSQL.

    It takes only tasks whose agent is installed here. The first Ctrl-C lets its runs end, the second stops them now;
    what is interrupted goes on here at the next start, or elsewhere when this host stays away.
    """
    import asyncio

    from agentd.errors import ConfigurationError
    from agentd.supervisor.daemon import leave, open_context, work
    from agentd.supervisor.process import only_one, outlive_log

    settings = ready_settings(config, repo=repo, host_max_parallel=host_max_parallel)
    if not settings.database_url:
        raise ConfigurationError(
            "a worker shares a PostgreSQL with its supervisor: set AGENTD_DATABASE_URL; "
            "on one host alone `agentd start` carries the runs too"
        )

    def told(line: str) -> None:
        typer.echo(line)
        sys.stdout.flush()

    outlive_log()
    with only_one(settings.state_dir):
        context = open_context(settings, os.environ)
        most = settings.host_max_parallel or settings.max_parallel
        told(f"worker of {settings.repo} at {context.place}, process {os.getpid()}, at most {most} runs")
        asyncio.run(work(context, told))
    typer.echo("stopped")
    leave(0)
