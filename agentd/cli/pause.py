"""`agentd pause` and `agentd resume`: start nothing more, over restarts too, until somebody says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.store.connection import Store

Reason = Annotated[str, typer.Option("--reason", help="Why; shown wherever the pause is.")]


def pause(reason: Reason = "", config: ConfigFile = None) -> None:
    """Start no more runs; running ones go on. Survives restarts."""
    from agentd.model import Decision, Verdict
    from agentd.store import holds

    verdict = Verdict(
        control="operator",
        rule_id="paused",
        decision=Decision.hold,
        scope=holds.PAUSE,
        observed=f"paused by the operator{': ' + reason if reason else ''}",
        action="agentd resume",
    )
    holds.hold(_store(config), verdict)
    typer.echo("paused: nothing is started until `agentd resume`")


def resume(config: ConfigFile = None) -> None:
    """End a pause."""
    from agentd.store import holds

    typer.echo("resumed" if holds.lift(_store(config), holds.PAUSE) else "there was no pause")


def _store(config: Path | None) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    return open_store(settings.database_url, settings.state_dir, SystemClock())
