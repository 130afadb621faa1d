"""`agentd web`: the page by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings

if TYPE_CHECKING:
    from agentd.web.source import Source

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
TOKEN = "AGENTD_WEB_TOKEN"
"""What who looks at the page from elsewhere must show."""


def web(
    config: ConfigFile = None,
    host: Annotated[
        str, typer.Option("--host", help=f"Address to listen at; others than this machine's need {TOKEN}.")
    ] = "127.0.0.1",
    port: Port = 8484,
) -> None:
    """Serve the page with what runs, waits and was done, and its JSON API, until Ctrl-C. `start --port` does too."""
    import asyncio
    import signal

    from agentd.web.server import serving

    source = source_of(config)

    async def serve() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with serving(source, host, port, os.environ.get(TOKEN, "")) as address:
            typer.echo(f"{address}  (Ctrl-C ends it)")
            await stopped.wait()

    asyncio.run(serve())


def source_of(config: Path | None) -> Source:
    """What the page shows: the store of the settings. Raises ConfigurationError."""
    from agentd.clock import SystemClock
    from agentd.loading import require_repo
    from agentd.web.source import Source

    loaded = load_settings(config, ask_gh=True)
    require_repo(loaded.settings, token=False)
    return Source(loaded, Path.cwd(), SystemClock(), os.environ)
