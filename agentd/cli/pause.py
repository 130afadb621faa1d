"""`agentd pause` and `agentd resume`: start nothing more, over restarts too, until somebody says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.store.connection import Store

Profile = Annotated[str | None, typer.Option("--profile", help="Only tasks of this profile.", metavar="NAME")]
Reason = Annotated[str, typer.Option("--reason", help="Why; shown wherever the pause is.")]


def pause(reason: Reason = "", profile: Profile = None, config: ConfigFile = None) -> None:
    """Start no more runs; running ones go on. Survives restarts."""
    from agentd.supervisor import orders

    said = orders.pause(_store(config), load_settings(config).settings, reason, profile)
    what = f"nothing of profile {profile!r}" if profile else "nothing"
    typer.echo(f"paused: {what} is started until `{said.action}`")


def resume(profile: Profile = None, config: ConfigFile = None) -> None:
    """End a pause, of everything or of one profile."""
    from agentd.supervisor import orders

    typer.echo("resumed" if orders.resume(_store(config), profile) else "there was no pause")


def _store(config: Path | None) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    return open_store(settings.database_url, settings.state_dir, SystemClock())
