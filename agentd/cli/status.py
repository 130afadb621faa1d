"""`agentd status`: what runs, what waits and why. Reads only the store."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.cli.tables import Block

Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again until Ctrl-C.")]
Interval = Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.", metavar="SECONDS")]


def status(config: ConfigFile = None, as_json: Json = False, watch: Watch = False, interval: Interval = 2.0) -> None:
    """Show the supervisor, the running runs, what is held and why, quotas and budgets, and the last runs."""
    from agentd.views.status import status as view

    settings = load_settings(config).settings
    if watch:
        _watch(lambda: view(settings, os.environ), as_json, interval)
        return
    found = view(settings, os.environ)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        from agentd.cli.tables import tell

        tell(blocks(found))


def _watch(look: Any, as_json: bool, interval: float) -> None:
    """In a terminal the picture changes in place; elsewhere each look follows the one before."""
    from agentd.cli.tables import is_terminal, plain, rendered

    if as_json or not is_terminal():
        while True:
            found = look()
            typer.echo(json.dumps(found) if as_json else f"{plain(blocks(found))}\n")
            time.sleep(interval)
    from rich.console import Group
    from rich.live import Live

    from agentd.cli.tables import console

    shown = console()
    with Live(console=shown, auto_refresh=False, screen=True) as live:
        while True:
            live.update(Group(*(rendered(block, shown.width) for block in blocks(look()))), refresh=True)
            time.sleep(interval)


def blocks(found: dict[str, Any]) -> list[Block]:
    """The view as lines and tables."""
    return [*_head(found), *_work(found), *_waits(found), *_ends(found)]


def _head(found: dict[str, Any]) -> list[Block]:
    supervisor, tick = found["supervisor"], found["supervisor"]["last_tick"]
    state = f"running (process {supervisor['pid']})" if supervisor["running"] else "stopped"
    if supervisor["drains"]:
        state = f"drains (process {supervisor['pid']}), ends after its runs"
    told: list[Block] = [f"Supervisor: {state}  {found['repo']}"]
    if tick:
        quota = ""
        if tick["requests_left"] is not None:
            quota = f"; GitHub has {tick['requests_left']} of {tick['requests_limit']} requests left"
        following = f", next {_clock(tick['next_at'])}" if supervisor["running"] and not supervisor["drains"] else ""
        told.append(f"Last tick: {_ago(tick['at'])} ago{following}{quota}")
    if found["sandbox"] == "none":
        told.append("WITHOUT A SANDBOX (sandbox = none)")
    told.append(f"Running: {len(found['running'])} of {found['max_parallel']}")
    return told


def _work(found: dict[str, Any]) -> list[Block]:
    from agentd.cli.tables import Table

    told: list[Block] = []
    if found["running"]:
        columns = ("task", "issue", "stage", "age", "in stage", "last event", "tokens", "usd", "run", "host")
        narrow = ("task", "stage", "age", "last event", "tokens")
        told.append(Table("Runs", columns, [_run(run) for run in found["running"]], narrow))
    away = [host for host in found["hosts"] if host["closed"] or not host["seconds_left"]]
    if away or len(found["hosts"]) > 1:
        rows = [
            (
                host["place"],
                "supervisor" if host["leads"] else "worker",
                host["version"],
                str(host["capacity"]),
                "heartbeat overdue" if not host["seconds_left"] else host["closed"] or "takes runs",
            )
            for host in found["hosts"]
        ]
        told.append(Table("Hosts", ("host", "role", "version", "runs", "state"), rows))
    return told


def _run(run: dict[str, Any]) -> tuple[str, ...]:
    models, event = run["models"] or {}, run["last_event"] or {}
    usd = models.get("usd")
    stage = run["state"] + (f" (waits: {run['waits_for']})" if run["waits_for"] else "")
    return (
        run["task_id"],
        f"#{run['issue_number']}",
        stage,
        span(run["seconds"]),
        span(run["stage_seconds"]),
        f"{event['event_type']} {event['status']}" if event else "",
        f"{models['tokens']:,}" if models else "",
        f"{usd:.4f}" if usd is not None else "",
        run["run_id"],
        run["executor"].partition(":")[0] or "no host yet",
    )


def _waits(found: dict[str, Any]) -> list[Block]:
    from agentd.cli.tables import Table

    told: list[Block] = []
    if found["retrying"]:
        due = [(hold["scope"], _clock(hold["retry_at"]), hold["observed"]) for hold in found["retrying"]]
        told.append(Table("Retrying", ("task", "due", "because"), due))
    retrying = {hold["scope"] for hold in found["retrying"]}
    others = [hold for hold in found["holds"] if hold["scope"] not in retrying]
    if others:
        rows = [
            (
                hold["scope"],
                f"{hold['observed']} [{hold['rule_id']}]",
                f"until {hold['retry_at']}" if hold["retry_at"] else "",
                f"-> {hold['action']}" if hold["action"] else "",
            )
            for hold in others
        ]
        told.append(Table("Held", ("what", "why", "until", "what ends it"), rows))
    if found["budgets"]["meters"]:
        rows = [
            (meter["scope"], *(_spent(meter, unit) for unit in ("usd", "tokens", "calls")))
            for meter in found["budgets"]["meters"]
        ]
        word = "limits refuse" if found["budgets"]["enforced"] else "limits only warn"
        told.append(Table(f"Budgets ({word})", ("meter", "usd", "tokens", "calls"), rows))
    return told


def _ends(found: dict[str, Any]) -> list[Block]:
    from agentd.cli.tables import Table

    if not found["recent"]:
        return []
    rows = [(run["task_id"], run["state"], run["pr_url"] or run["reason"]) for run in found["recent"]]
    return [Table("Last runs", ("task", "state", "outcome"), rows)]


def _spent(meter: dict[str, Any], unit: str) -> str:
    limit = meter["limits"].get(unit)
    return f"{meter['used'][unit]:,.6g}" + (f" of {limit:,g}" if limit else "")


def span(seconds: float) -> str:
    """A time that passed, in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _ago(at: str) -> str:
    return span(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()))


def _clock(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
