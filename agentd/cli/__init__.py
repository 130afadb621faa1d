"""The command line. One file a command; what costs time to import is imported inside the command."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

import typer

from agentd.cli import (
    budget,
    claims,
    clean,
    config,
    demo,
    doctor,
    events,
    evidence,
    follow,
    gateway,
    init,
    install_service,
    ledger,
    once,
    pause,
    policy,
    practice,
    reset,
    runs,
    salvage,
    start,
    status,
    stop,
    tasks,
    web,
    why,
    worker,
    workers,
)
from agentd.errors import AgentdError

app = typer.Typer(
    name="agentd",
    help="Label a GitHub issue; a coding agent works on it in an isolated git working tree; a verified pull request "
    "comes back.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time that `--help` takes
)

app.command()(start.start)
app.command()(once.once)
app.command()(worker.worker)
app.command()(status.status)
app.command()(why.why)
app.command()(follow.follow)
app.command()(web.web)
app.command()(stop.stop)
app.command()(stop.restart)
app.command()(pause.pause)
app.command()(pause.resume)
app.command()(reset.reset)
app.command()(clean.clean)
app.command()(doctor.doctor)
app.command()(init.init)
app.command("install-service")(install_service.install_service)
app.command()(demo.demo)
app.add_typer(tasks.app, name="tasks")
app.add_typer(runs.app, name="runs")
app.add_typer(claims.app, name="claims")
app.add_typer(salvage.app, name="salvage")
app.add_typer(workers.app, name="workers")
app.add_typer(budget.app, name="budget")
app.add_typer(gateway.app, name="gateway")
app.add_typer(events.app, name="events")
app.add_typer(evidence.app, name="evidence")
app.add_typer(ledger.app, name="ledger")
app.add_typer(config.app, name="config")
app.add_typer(policy.app, name="policy")
app.add_typer(practice.app, name="practice")


@app.callback(invoke_without_command=True)
def _agentd(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from agentd import __version__

        typer.echo(f"agentd {__version__}")
        raise typer.Exit


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What a write may end with that names no file, to standard output too."""


def main() -> None:
    """The console script: an error that agentd raises on purpose, or that names a file, is one line, and no exit 0."""
    _have_streams()
    try:
        app()
    except AgentdError as error:
        typer.echo(f"agentd: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # without a file's name it may be anything
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        with suppress(OSError):
            typer.echo(f"agentd: {error.filename or 'standard output, or a file'}: {error.strerror}", err=True)
        if error.filename is None:
            _to_nowhere("stdout", "w")  # what it still holds would be tried once more
        sys.exit(1)


def _have_streams() -> None:
    """What the caller has closed goes nowhere; otherwise it is None, and a file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            _to_nowhere(name, mode)


def _to_nowhere(name: str, mode: str) -> None:
    setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  # as long as the process lives
