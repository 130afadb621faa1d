"""The overview as JSON: what runs, what waits and why, what it cost, how much got done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from agentd import __version__
from agentd.model import Run
from agentd.policy.budget_settings import NANO
from agentd.policy.budgets import Meter
from agentd.states import ACTIVE, BLOCKED_ENDS, RunState
from agentd.store import holds, plans, runs, schema, spending, steps
from agentd.store.connection import Store
from agentd.supervisor.process import running
from agentd.web.source import Source

RECENT = 15
DAYS = 14
"""Days that the chart of throughput shows."""


def state(source: Source) -> dict[str, Any]:
    """Everything that the overview shows, but the time at which it was asked for."""
    store, settings = source.store, source.settings
    active = runs.active_runs(store)
    supervisor = running(settings.state_dir)
    day = store.clock.now().date()
    used = meters(store, [f"day:{day}", *(f"run:{run.run_id}" for run in active)])
    ended = [run for run in runs.latest_runs(store, RECENT + len(active)) if run.state not in ACTIVE]
    return {
        "repo": settings.repo,
        "version": __version__,
        "supervisor": {"running": supervisor is not None, "pid": supervisor.pid if supervisor else None},
        "slots": {"used": len(active), "limit": settings.max_parallel},
        "sandbox": settings.sandbox,
        "running": [_running(store, run, used[f"run:{run.run_id}"]) for run in active],
        "queue": plans.last_plan(store),
        "holds": [held.model_dump(mode="json") for held in holds.holds(store).values()],
        "recent": [brief(run) for run in ended[:RECENT]],
        "counts": runs.count_by_state(store),
        "spent_today": spent(used[f"day:{day}"]),
        "throughput": throughput(store, day),
    }


def meters(store: Store, scopes: Sequence[str]) -> dict[str, Meter]:
    """What each scope has used."""
    with store.read() as connection:
        return spending.load_meters(store, connection, scopes)


def spent(meter: Meter) -> dict[str, float]:
    """Of a meter what has been used: calls, tokens, US dollars."""
    used = meter.used
    return {"calls": used.calls, "tokens": used.tokens, "usd": used.nano_usd / NANO}


def brief(run: Run) -> dict[str, Any]:
    """A run as a row of a table."""
    shown = run.model_dump(mode="json")
    names = (
        *("run_id", "task_id", "issue_number", "title", "attempt", "profile", "state", "reason"),
        *("pr_number", "pr_url", "started_at", "updated_at", "finished_at", "merged_at"),
    )
    return {name: shown[name] for name in names} | {"is_active": run.state in ACTIVE}


def _running(store: Store, run: Run, meter: Meter) -> dict[str, Any]:
    last = steps.latest(store, run.run_id)
    return brief(run) | {
        "host": run.executor.partition(":")[0],
        "used": spent(meter),
        "last_step": {"kind": last.kind, "name": last.name, "summary": last.summary} if last else None,
    }


def throughput(store: Store, today: Any) -> list[dict[str, Any]]:
    """For each of the last days, oldest first: pull requests merged, and runs that ended badly."""
    first = today - timedelta(days=DAYS - 1)
    merged = _per_day(store, schema.runs.c.merged_at, first, [RunState.merged])
    bad = _per_day(store, schema.runs.c.finished_at, first, sorted(BLOCKED_ENDS))
    days = [(first + timedelta(days=number)).isoformat() for number in range(DAYS)]
    return [{"day": day, "merged": merged.get(day, 0), "blocked": bad.get(day, 0)} for day in days]


def _per_day(store: Store, column: Any, first: datetime, states: Sequence[RunState]) -> dict[str, int]:
    day = func.substr(column, 1, 10)
    query = select(day, func.count()).where(column >= first.isoformat(), schema.runs.c.state.in_(states)).group_by(day)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
