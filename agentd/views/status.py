"""What runs, what waits and until when, what it has cost: everything that `agentd status` and the page's front show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.doctor.secrecy import secrets_of, without_any
from agentd.git.naming import TASK_ID
from agentd.policy.budget_settings import NANO, limits_of
from agentd.states import ACTIVE
from agentd.store.glance import Glance, Row, glance, hold_end
from agentd.supervisor.process import running

RECENT = 10
_ACTIVE = ", ".join(f"'{state}'" for state in sorted(ACTIVE))


def status(settings: Settings, environ: Mapping[str, str], clock: Clock | None = None) -> dict[str, Any]:
    """The whole view, without secrets. Reads the store alone, GitHub is not asked. Raises StoreError."""
    cleaned: dict[str, Any] = without_any(_seen(settings, clock or SystemClock()), secrets_of(settings, environ))
    return cleaned


def _seen(settings: Settings, clock: Clock) -> dict[str, Any]:
    supervisor = running(settings.state_dir)
    found: dict[str, Any] = {
        "repo": settings.repo,
        "supervisor": {
            "running": supervisor is not None,
            "pid": supervisor.pid if supervisor else None,
            "drains": supervisor is not None and supervisor.drains,
            "last_tick": None,
        },
        "max_parallel": settings.max_parallel,
        "sandbox": settings.sandbox,
        **{name: [] for name in ("running", "retrying", "holds", "claims", "hosts", "recent")},
        "counts": {},
        "budgets": {"enforced": settings.budgets.hard_limits_enabled, "meters": []},
    }
    with glance(settings.database_url, settings.state_dir, clock) as look:
        if look is None:
            return found
        tick = look.value("SELECT value FROM meta WHERE key = 'last_tick'")
        found["supervisor"]["last_tick"] = json.loads(tick) if tick else None
        found["running"] = [_running(look, row) for row in look.rows(_runs(f"state IN ({_ACTIVE})", "started_at"))]
        found["holds"] = _holds(look)
        found["retrying"] = [hold for hold in found["holds"] if _is_retry(hold, look.now)]
        found["claims"] = _claims(look)
        found["hosts"] = _hosts(look)
        found["recent"] = look.rows(_runs(f"state NOT IN ({_ACTIVE})", "started_at DESC", RECENT))
        counted = look.rows("SELECT state, count(*) AS number FROM runs GROUP BY state")
        found["counts"] = {row["state"]: row["number"] for row in counted}
        found["budgets"] = _budgets(settings, look)
    return found


def _runs(where: str, order: str, most: int = 1000) -> str:
    return f"SELECT * FROM runs WHERE {where} ORDER BY {order}, run_id LIMIT {most}"


def _running(look: Glance, run: Row) -> Row:
    """A run under way, with its age, its last event, what its model calls have used, and what it waits for."""
    run_id = run["run_id"]
    since = look.value("SELECT max(at) FROM transitions WHERE run_id = ?", run_id) or run["started_at"]
    event = look.value("SELECT body FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1", run_id)
    told = json.loads(event) if event else None
    hold = look.rows("SELECT reason, retry_at FROM holds WHERE scope = ?", f"run:{run_id}")
    return {
        **run,
        "seconds": _seconds(run["started_at"], look.now),
        "stage_seconds": _seconds(since, look.now),
        "last_event": told and {name: told[name] for name in ("event_type", "status", "timestamp")},
        "models": spent(look, "run_id", run_id),
        "waits_for": hold[0]["reason"] if hold else "",
    }


def spent(look: Glance, column: str, value: str) -> Row | None:
    """Calls, tokens and dollars of a run or task, reserved ones included; no dollars where one of them has no price."""
    [row] = look.rows(
        "SELECT count(*) AS calls, sum(input_tokens + output_tokens) AS tokens, sum(nano_usd) AS nano, "
        f"count(nano_usd) AS priced FROM spend WHERE {column} = ?",
        value,
    )
    if not row["calls"]:
        return None
    usd = int(row["nano"] or 0) / NANO if row["priced"] == row["calls"] else None
    return {"calls": row["calls"], "tokens": int(row["tokens"] or 0), "usd": usd}


def _holds(look: Glance) -> list[Row]:
    """In the shape of a Verdict."""
    rows = look.rows("SELECT * FROM holds ORDER BY scope")
    return [
        {
            "control": "hold",
            "rule_id": row["rule_id"],
            "decision": "hold",
            "scope": row["scope"],
            "observed": row["reason"],
            "limit": "",
            "action": row["action"],
            "evidence": [],
            "retry_at": until.isoformat() if (until := hold_end(row["since"], row["retry_at"], look.now)) else None,
        }
        for row in rows
    ]


def _is_retry(hold: Row, now: datetime) -> bool:
    """Whether a task is only waiting for its time."""
    return (
        hold["retry_at"] is not None
        and TASK_ID.fullmatch(hold["scope"]) is not None
        and datetime.fromisoformat(hold["retry_at"]) > now
    )


def _claims(look: Glance) -> list[Row]:
    names = "task_id, holder, run_id, generation, remote_sha, deadline, boot_id, released"
    rows = look.rows(f"SELECT {names} FROM claims WHERE released = 0 ORDER BY task_id")
    shown = ("task_id", "holder", "run_id", "generation", "remote_sha")
    return [{**{name: row[name] for name in shown}, "seconds_left": round(look.seconds_left(row), 1)} for row in rows]


def _hosts(look: Glance) -> list[Row]:
    """Processes that carry runs."""
    rows = look.rows("SELECT * FROM executors ORDER BY place")
    return [
        {
            "place": row["place"],
            "version": row["version"],
            "capacity": row["capacity"],
            "agents": json.loads(row["agents"]),
            "leads": bool(row["leads"]),
            "closed": row["closed"] or ("drained" if row["drain"] else ""),
            "seconds_left": round(look.seconds_left(row), 1),
        }
        for row in rows
    ]


def _budgets(settings: Settings, look: Glance) -> Row:
    """The meters that have limits which others share: today's, the models', profiles' and all together."""
    said = look.value("SELECT value FROM meta WHERE key = 'budget_enforcement'")
    enforced = settings.budgets.hard_limits_enabled if said is None else said == "on"
    meters = []
    for row in look.rows("SELECT * FROM meters WHERE scope NOT LIKE 'run:%' AND scope NOT LIKE 'task:%'"):
        limits = limits_of(settings.budgets, row["scope"])
        if not limits or (row["scope"].startswith("day:") and row["scope"] != f"day:{look.now:%Y-%m-%d}"):
            continue
        used = {"usd": row["used_nano_usd"] / NANO, "tokens": row["used_tokens"], "calls": row["used_calls"]}
        meters.append({"scope": row["scope"], "used": used, "limits": limits})
    return {"enforced": enforced, "meters": meters}


def _seconds(since: str, now: datetime) -> float:
    return round(max(0.0, (now - datetime.fromisoformat(since)).total_seconds()), 1)
