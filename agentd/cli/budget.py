"""`agentd budget`: what models have cost beside what they may, and whether limits refuse or only warn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.store.connection import Store

app = typer.Typer(help="Budgets of model calls: what was used, what may be, and who says no.")


@app.callback(invoke_without_command=True)
def budget(context: typer.Context, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show every meter: what a run, task, profile, model or day has used and reserved, and its limits."""
    if context.invoked_subcommand is not None:
        return
    found = collect(load_settings(config).settings)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"Limits {'refuse' if found['enforced'] else 'only warn'} (agentd budget enforce on|off)")
    for meter in found["meters"]:
        typer.echo(_line(meter))


@app.command()
def enforce(
    state: Annotated[str, typer.Argument(help="on: calls over a limit are refused. off: limits only warn.")],
    config: ConfigFile = None,
) -> None:
    """Switch limits on or off while everything runs; it holds until it is switched again, whatever agentd.toml says."""
    from agentd.errors import ConfigurationError
    from agentd.store import spending

    if state not in ("on", "off"):
        raise ConfigurationError(f"agentd budget enforce: say on or off, not {state!r}")
    spending.set_enforcement(_store(load_settings(config).settings, read_only=False), state == "on")
    typer.echo("calls over a limit are refused" if state == "on" else "limits only warn")


def collect(settings: Settings) -> dict[str, Any]:
    """Everything that the command shows, as JSON values."""
    from agentd.policy.budget_settings import NANO, limits_of
    from agentd.store import spending

    found: dict[str, Any] = {"enforced": settings.budgets.hard_limits_enabled, "meters": []}
    if not settings.database_url and not (settings.state_dir / "agentd.db").is_file():
        return found
    store = _store(settings)
    with store.read() as connection:
        said = spending.enforcement(connection)
    found["enforced"] = settings.budgets.hard_limits_enabled if said is None else said
    for scope, meter in spending.all_meters(store).items():
        row: dict[str, Any] = {"scope": scope, "limits": limits_of(settings.budgets, scope)}
        for name, amount in (("used", meter.used), ("reserved", meter.reserved)):
            row[name] = {"usd": amount.nano_usd / NANO, "tokens": amount.tokens, "calls": amount.calls}
        found["meters"].append(row)
    return found


def _line(meter: dict[str, Any]) -> str:
    parts = []
    for unit, shape in (("usd", ".4f"), ("tokens", ".0f"), ("calls", ".0f")):
        used, reserved, limit = meter["used"][unit], meter["reserved"][unit], meter["limits"].get(unit)
        said = f"{used:{shape}}" + (f" (+{reserved:{shape}})" if reserved else "") + (f" of {limit:g}" if limit else "")
        parts.append(f"{said} {unit}")
    return f"{meter['scope']:40} {', '.join(parts)}"


def _store(settings: Settings, *, read_only: bool = True) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    create = not read_only
    return open_store(settings.database_url, settings.state_dir, SystemClock(), create=create, read_only=read_only)
