"""`agentd runs list|show|cancel|retry`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.store.connection import Store

app = typer.Typer(help="Runs: what was tried, how it ended, ending one, and trying again.", no_args_is_help=True)
RunId = Annotated[str, typer.Argument(help="The run's id.")]


@app.command("list")
def list_runs(
    config: ConfigFile = None,
    as_json: Json = False,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 20,
) -> None:
    """The newest runs."""
    from agentd.cli.once import run_json, run_line
    from agentd.store import runs

    found = runs.latest_runs(_store(config), limit)
    if as_json:
        typer.echo(json.dumps([run_json(run) for run in found], indent=2))
        return
    for run in found:
        typer.echo(run_line(run))


@app.command()
def show(run_id: RunId, config: ConfigFile = None, as_json: Json = False) -> None:
    """One run with what its models have used and all its state changes."""
    from agentd.cli.once import run_json
    from agentd.errors import AgentdError
    from agentd.store import runs

    store = _store(config)
    run = runs.get_run(store, run_id)
    if run is None:
        raise AgentdError(f"{run_id}: no such run; `agentd runs list` shows them")
    changes = runs.transitions_of(store, run_id)
    shown = {**run_json(run), "sandbox": runs.order_of(store, run_id).get("sandbox", "none")}
    shown["models"] = _spent(store, run_id)
    if as_json:
        typer.echo(json.dumps({**shown, "transitions": changes}, indent=2))
        return
    if shown["models"]:
        shown["models"] = ", ".join(f"{value:g} {unit}" for unit, value in shown["models"].items() if value is not None)
    for key, value in shown.items():
        if value not in (None, "", 0):
            typer.echo(f"{key:14} {value}")
    for change in changes:
        reason = f"  {change['reason']}" if change["reason"] else ""
        typer.echo(f"  {change['at'][:19]}  {change['before'] or '-':12} -> {change['after']}{reason}")


def _spent(store: Store, run_id: str) -> dict[str, float | None] | None:
    """What its model calls have used, or have reserved as yet; no dollars where one of them has no price."""
    from agentd.policy.budget_settings import NANO
    from agentd.store import spending

    calls = spending.calls_of(store, run_id)
    if not calls:
        return None
    nano = [call.nano_usd for call in calls]
    usd = None if None in nano else sum(each or 0 for each in nano) / NANO
    return {"calls": len(calls), "tokens": sum(call.amount.tokens for call in calls), "usd": usd}


@app.command()
def cancel(run_id: RunId, config: ConfigFile = None) -> None:
    """End a run; its work is saved, and its issue gets status:blocked."""
    from agentd.supervisor import orders

    orders.cancel(_store(config, read_only=False), run_id)
    typer.echo(f"{run_id}: will end; `agentd runs show {run_id}` tells when")


@app.command()
def retry(
    run_id: RunId,
    config: ConfigFile = None,
    stage: Annotated[
        str, typer.Option("--from", help="verify or publish: what the run did before counts as done.", metavar="STAGE")
    ] = "",
) -> None:
    """Try again what a run did not achieve, from its beginning or from a later stage. Failed attempts are forgotten."""
    from agentd.clock import SystemClock
    from agentd.supervisor.retry import retry as order

    run = order(_store(config, read_only=False), load_settings(config).settings, SystemClock(), run_id, stage)
    typer.echo(f"{run.run_id}: queued; the supervisor takes it at its next tick")


def _store(config: Path | None, *, read_only: bool = True) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    settings = load_settings(config).settings
    return open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=read_only)
