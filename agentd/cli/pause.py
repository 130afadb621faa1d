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
    from agentd.model import Decision, Verdict
    from agentd.store import holds, verdicts
    from agentd.store.verdicts import About

    settings = load_settings(config).settings
    if profile is not None:
        settings.profile_named(profile)
    verdict = Verdict(
        control="operator",
        rule_id="paused",
        decision=Decision.hold,
        scope=holds.pause_scope(profile),
        observed=f"paused by the operator{': ' + reason if reason else ''}",
        action=_way_on(profile),
    )
    verdicts.hold(_store(config), verdict, About(settings.repo, "supervisor"))
    what = f"nothing of profile {profile!r}" if profile else "nothing"
    typer.echo(f"paused: {what} is started until `{_way_on(profile)}`")


def resume(profile: Profile = None, config: ConfigFile = None) -> None:
    """End a pause, of everything or of one profile."""
    from agentd.store import holds

    typer.echo("resumed" if holds.lift(_store(config), holds.pause_scope(profile)) else "there was no pause")


def _way_on(profile: str | None) -> str:
    return f"agentd resume --profile {profile}" if profile else "agentd resume"


def _store(config: Path | None) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    return open_store(settings.database_url, settings.state_dir, SystemClock())
