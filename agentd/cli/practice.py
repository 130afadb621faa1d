"""`agentd practice`: the practice GitHub in the foreground."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="A GitHub that fits in a process, for demos and tests.", no_args_is_help=True)


@app.callback()
def practice() -> None:
    """A GitHub that fits in a process, for demos and tests."""


@app.command()
def serve(
    root: Annotated[Path, typer.Option(help="Where the bare repositories go.")],
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
    seed: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON with users, repos, tokens, labels, issues.")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Gets the URL once the server answers.")] = None,
) -> None:
    """Serve a practice GitHub until Ctrl-C."""
    from agentd.practice import PracticeGitHub

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with PracticeGitHub(root, port=port) as hub:
        tokens = hub.sow(json.loads(seed.read_text(encoding="utf-8"))) if seed else {}
        typer.echo(hub.url)
        for login, values in tokens.items():
            for value in values:
                typer.echo(f"token {login} {value}")
        if ready_file:
            ready_file.write_text(hub.url + "\n", encoding="utf-8")
        stopped.wait()
