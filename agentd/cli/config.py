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
    from agentd.doctor.secrecy import secrets_of, without_any

    loaded = load_settings(config, ask_gh=True, repo=repo)
    secrets = secrets_of(loaded.settings, os.environ)
    shown = {name: _shown(name, value) for name, value in loaded.settings.model_dump(mode="json").items()}
    values: dict[str, Any] = without_any(shown, secrets)
    if as_json:
        rows = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        typer.echo(json.dumps(rows, indent=2))
        return
    for name, value in values.items():
        typer.echo(f"{name:32} {_short(value):40} {loaded.origins[name]}")


def _shown(name: str, value: Any) -> Any:
    if name == "token":
        return "***REDACTED***" if value else ""
    if name == "profiles":
        return {key: _without_env(profile) for key, profile in value.items()}
    return _without_env(value) if name == "lockfiles" else value


def _without_env(table: dict[str, Any]) -> dict[str, Any]:
    return table | {"env": dict.fromkeys(table["env"], "***REDACTED***")}


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
