"""The front of the page as JSON: what `agentd status` tells, the queue, and how much gets done a day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from agentd import __version__
from agentd.policy.budget_settings import NANO
from agentd.states import ACTIVE, BLOCKED_ENDS
from agentd.store.glance import Glance, Row, glance
from agentd.store.plans import rows_of
from agentd.views.status import status
from agentd.web.source import Source

DAYS = 14
"""Days that the chart of throughput shows."""
PASSING = ("seconds", "stage_seconds", "seconds_left")
"""What only time changes: left out, so that nothing is sent while nothing happens."""
BRIEF = (
    *("run_id", "task_id", "issue_number", "title", "attempt", "profile", "state", "reason"),
    *("pr_number", "pr_url", "started_at", "updated_at", "finished_at", "merged_at"),
)
"""Columns of a run that a row of a table shows."""


def state(source: Source) -> dict[str, Any]:
    """Everything that the front shows. Raises StoreError."""
    found = status(source.settings, source.environ, source.clock)
    with glance(source.settings.database_url, source.settings.state_dir, source.clock) as look:
        today = source.clock.now().date()
        found |= {
            "version": __version__,
            "queue": rows_of(look) if look else [],
            "spent_today": _spent(look, today),
            "throughput": throughput(look, today),
        }
        if look is not None:
            found["running"] = [{**run, "last_step": _last_step(look, run["run_id"])} for run in found["running"]]
    found["recent"] = [brief(row) for row in found["recent"]]
    lasting: dict[str, Any] = _lasting(found)
    return lasting


def brief(run: Row) -> Row:
    """A run as a row of a table."""
    return {name: run[name] for name in BRIEF} | {"is_active": run["state"] in ACTIVE}


def throughput(look: Glance | None, today: date) -> list[dict[str, Any]]:
    """For each of the last days, oldest first: pull requests merged, and runs that ended badly."""
    first = today - timedelta(days=DAYS - 1)
    blocked = ", ".join(f"'{end}'" for end in sorted(BLOCKED_ENDS))
    merged = _per_day(look, "merged_at", "state = 'merged'", first)
    bad = _per_day(look, "finished_at", f"state IN ({blocked})", first)
    days = [(first + timedelta(days=number)).isoformat() for number in range(DAYS)]
    return [{"day": day, "merged": merged.get(day, 0), "blocked": bad.get(day, 0)} for day in days]


def _per_day(look: Glance | None, column: str, where: str, first: date) -> dict[str, int]:
    if look is None:
        return {}
    query = f"SELECT substr({column}, 1, 10) AS day, count(*) AS number FROM runs WHERE {column} >= ? AND {where}"
    return {row["day"]: row["number"] for row in look.rows(f"{query} GROUP BY 1", first.isoformat())}


def _spent(look: Glance | None, today: date) -> dict[str, float]:
    rows = look.rows("SELECT * FROM meters WHERE scope = ?", f"day:{today}") if look else []
    row = rows[0] if rows else {"used_calls": 0, "used_tokens": 0, "used_nano_usd": 0}
    return {"calls": row["used_calls"], "tokens": row["used_tokens"], "usd": row["used_nano_usd"] / NANO}


def _last_step(look: Glance, run_id: str) -> Row | None:
    query = "SELECT kind, name, summary FROM steps WHERE run_id = ? ORDER BY started_at DESC LIMIT 1"
    return next(iter(look.rows(query, run_id)), None)


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in PASSING}
    return [_lasting(each) for each in value] if isinstance(value, list) else value
