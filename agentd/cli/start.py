"""`agentd start`: the supervisor, detached or in the foreground."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import WITHOUT_SANDBOX, ConfigFile, DryRun, MaxParallel, PollInterval, Repo, ready_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.config import Settings
    from agentd.supervisor.tick import Tick

READY_SECONDS = 30.0
PagePort = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="Serve the page there too, to this machine only.")
]
Foreground = Annotated[
    bool, typer.Option("--foreground", help="Stay in this terminal; Ctrl-C drains, and so does closing it.")
]


def start(
    repo: Repo = None,
    config: ConfigFile = None,
    max_parallel: MaxParallel = None,
    poll_interval_seconds: PollInterval = None,
    foreground: Foreground = False,
    port: PagePort = None,
    dry_run: DryRun = False,
) -> None:
    """Start the supervisor: it polls, runs agents and opens pull requests until it is stopped."""
    flags = {"repo": repo, "max_parallel": max_parallel, "poll_interval_seconds": poll_interval_seconds}
    settings = ready_settings(config, **flags, dry_run=dry_run or None)
    if settings.dry_run:
        from agentd.cli.once import once

        once(repo=repo, config=config, max_parallel=max_parallel, dry_run=True)
        return
    if foreground:
        _serve(settings, config, port)
        return
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not None]
    arguments += [f"--port={port}"] if port is not None else []
    _detach(settings, arguments + ([f"--config={config}"] if config else []))
    if port is not None:
        typer.echo(f"the page: http://127.0.0.1:{port}/")


def _serve(settings: Settings, config: Path | None, port: int | None) -> None:
    import asyncio
    from contextlib import AsyncExitStack

    from agentd.supervisor.daemon import leave, open_context, serve
    from agentd.supervisor.process import only_one, outlive_log

    last: list[str] = []

    def told(done: Tick) -> None:
        """Say what changed since the tick before, and nothing else."""
        from agentd.cli.once import plan_json, run_line

        for run in done.started:
            typer.echo(f"start {run.task_id} #{run.issue_number}: run {run.run_id}")
        for run in done.moved:
            typer.echo(run_line(run))
        for run_id in done.revived:
            typer.echo(f"go on with run {run_id}")
        lines = [f"{row['task_id']} {row['decision']} {row['rule_id']} {row['reason']}" for row in plan_json(done)]
        for line in lines:
            if settings.agent_debug or line not in last:
                typer.echo(line)
        last[:] = lines
        sys.stdout.flush()

    def up() -> None:
        typer.echo(f"supervisor of {settings.repo}{_process(os.getpid())}at most {settings.max_parallel} runs")
        if settings.sandbox == "none":
            typer.echo(WITHOUT_SANDBOX)
        sys.stdout.flush()

    async def live() -> None:
        async with AsyncExitStack() as stack:
            if port is not None:
                from agentd.cli.web import TOKEN, source_of
                from agentd.web.server import serving

                await stack.enter_async_context(
                    serving(source_of(config), "127.0.0.1", port, os.environ.get(TOKEN, ""))
                )
            await serve(context, up, told)

    outlive_log()
    with only_one(settings.state_dir):
        context = open_context(settings, os.environ)
        asyncio.run(live())
    typer.echo("stopped")
    leave(0)


def _detach(settings: Settings, arguments: list[str]) -> None:
    """Start `start --foreground` in a session of its own, and wait until it is up or has said why not."""
    from agentd.errors import AgentdError
    from agentd.supervisor.process import make_log_dir

    if _runs_already(settings):
        return
    make_log_dir(settings.log_dir)
    log = settings.log_dir / "supervisor.log"
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "agentd", "start", "--foreground", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        status = child.poll()
        said = log.read_bytes()[before:].decode(errors="replace").strip()
        if status is not None:
            if _runs_already(settings):  # somebody else has started one at the same moment, which the log tells too
                return
            silent = f"exit status {status}, and nothing in the log {log}; is its disk full?"
            raise AgentdError(f"the supervisor did not start: {said.splitlines()[-1] if said else silent}")
        if _process(child.pid) in said:
            typer.echo(f"supervisor started (process {child.pid}), log: {log}")
            if settings.sandbox == "none":
                typer.echo(WITHOUT_SANDBOX)
            return
        time.sleep(0.05)
    raise AgentdError(f"the supervisor is not ready after {READY_SECONDS:.0f} s; see {log}")


def _runs_already(settings: Settings) -> bool:
    """Whether a supervisor lives, which is said then. Raises AgentdError for one that drains."""
    from agentd.errors import AgentdError
    from agentd.supervisor.process import running

    found = running(settings.state_dir)
    if found is None:
        return False
    if found.drains:
        raise AgentdError(f"{found}; `agentd stop` waits for its runs, `agentd stop --now` ends them")
    typer.echo(f"the supervisor is running already (process {found.pid})")
    return True


def _process(pid: int) -> str:
    """The part of a supervisor's first line that is only its own."""
    return f", process {pid}, "
