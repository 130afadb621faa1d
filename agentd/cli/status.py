"""`agentd status`: what runs, what waits and why. Reads only the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.config import Settings

RECENT = 10


def status(config: ConfigFile = None, as_json: Json = False) -> None:
    """Show the supervisor, the running runs, what is held and why, and the last runs."""
    found = collect(load_settings(config).settings)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found)


def collect(settings: Settings) -> dict[str, Any]:
    """Everything that status shows, as JSON values."""
    from agentd.clock import SystemClock
    from agentd.store import claims, holds, runs
    from agentd.store.connection import open_store
    from agentd.supervisor.process import running

    supervisor = running(settings.state_dir)
    found: dict[str, Any] = {
        "repo": settings.repo,
        "supervisor": {"running": supervisor is not None, "pid": supervisor.pid if supervisor else None},
        "max_parallel": settings.max_parallel,
        "sandbox": settings.sandbox,
        "running": [],
        "holds": [],
        "claims": [],
        "recent": [],
        "counts": {},
    }
    if not settings.database_url and not (settings.state_dir / "agentd.db").is_file():
        return found
    store = open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=True)
    active = runs.active_runs(store)
    found["running"] = [run.model_dump(mode="json") for run in active]
    found["holds"] = [verdict.model_dump(mode="json") for verdict in holds.holds(store).values()]
    found["claims"] = [
        {**row.claim.model_dump(mode="json"), "seconds_left": round(row.seconds_left, 1)}
        for row in claims.list_claims(store)
    ]
    ended = [run for run in runs.latest_runs(store, RECENT + len(active)) if run not in active]
    found["recent"] = [run.model_dump(mode="json") for run in ended[:RECENT]]
    found["counts"] = runs.count_by_state(store)
    return found


def _print(found: dict[str, Any]) -> None:
    supervisor = found["supervisor"]
    state = f"running (process {supervisor['pid']})" if supervisor["running"] else "stopped"
    typer.echo(f"Supervisor: {state}  {found['repo']}")
    if found["sandbox"] == "none":
        typer.echo("WITHOUT A SANDBOX (sandbox = none)")
    typer.echo(f"Running: {len(found['running'])} of {found['max_parallel']}")
    for run in found["running"]:
        place = run["executor"].partition(":")[0] or "no host yet"
        said = f"{run['task_id']} #{run['issue_number']} {run['state']} {run['run_id']} attempt {run['attempt']}"
        typer.echo(f"  {said} at {place}")
    if found["holds"]:
        typer.echo("Held:")
    for hold in found["holds"]:
        until = f", until {hold['retry_at']}" if hold["retry_at"] else ""
        typer.echo(f"  {hold['scope']}: {hold['observed']} [{hold['rule_id']}]{until}")
        if hold["action"]:
            typer.echo(f"    -> {hold['action']}")
    if found["recent"]:
        typer.echo("Last runs:")
    for run in found["recent"]:
        typer.echo(f"  {run['task_id']} {run['state']} {run['pr_url'] or run['reason']}")
