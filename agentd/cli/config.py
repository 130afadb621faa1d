"""`agentd config show`: every effective value with where it comes from."""

from __future__ import annotations

import json
import os
from typing import Any

import typer

from agentd.cli.options import ConfigFile, Json, Repo, load_settings

app = typer.Typer(help="Settings.", no_args_is_help=True)


@app.command()
def show(repo: Repo = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Print each setting, its value and its origin: flag, environment variable, file or default. Secrets are hidden."""
    from agentd.agents.environment import secret_values
    from agentd.doctor.secrecy import without_any

    loaded = load_settings(config, ask_gh=True, repo=repo)
    secrets = (loaded.settings.token.get_secret_value(), *secret_values(os.environ))
    shown = {name: _shown(name, value) for name, value in loaded.settings.model_dump(mode="json").items()}
    values: dict[str, Any] = without_any(shown, [secret for secret in secrets if secret])
    if as_json:
        rows = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        typer.echo(json.dumps(rows, indent=2))
        return
    for name, value in values.items():
        typer.echo(f"{name:32} {_short(value):40} {loaded.origins[name]}")


def _shown(name: str, value: Any) -> Any:
    if name == "token":
        return "***REDACTED***" if value else ""
    if name == "database_url":
        return _without_password(value)
    if name == "profiles":
        return {key: _without_env(profile) for key, profile in value.items()}
    return _without_env(value) if name == "lockfiles" else value


def _without_password(address: str) -> str:
    """Its password may be a word that other settings have too, and is hidden here alone."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not address:
        return ""
    try:
        return make_url(address).render_as_string(hide_password=True)
    except ArgumentError:
        return "***REDACTED***"


def _without_env(table: dict[str, Any]) -> dict[str, Any]:
    return table | {"env": dict.fromkeys(table["env"], "***REDACTED***")}


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
