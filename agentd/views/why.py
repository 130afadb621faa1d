"""Why an issue waits, as JSON values: every rule with what it says now, what was, what it cost and what comes next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agentd.clock import Clock
from agentd.config import Settings
from agentd.doctor.secrecy import secrets_of, without_any
from agentd.model import Decision, Verdict
from agentd.policy.budget_settings import limits_of
from agentd.run.context import Context
from agentd.states import ACTIVE
from agentd.store import holds, ledger, runs
from agentd.store.glance import glance
from agentd.store.ticks import last_tick
from agentd.supervisor.process import running
from agentd.supervisor.why import Explanation, explain, looking
from agentd.views.status import spent

TRANSITIONS = 10
EVENTS = 5


def why(settings: Settings, environ: Mapping[str, str], reference: str, clock: Clock | None = None) -> dict[str, Any]:
    """The whole view, without secrets. Writes nothing. Raises ConfigurationError, StoreError."""
    context = looking(settings, environ, clock)
    try:
        found = explain(context, reference)
        view = {**_head(found), **_history(context, found), "timers": _timers(context, found)}
    finally:
        context.store.close()
    cleaned: dict[str, Any] = without_any(view, secrets_of(settings, environ))
    return cleaned


def _head(found: Explanation) -> dict[str, Any]:
    causes = found.causes
    cause = causes[0] if causes else None
    return {
        "issue_number": found.issue_number,
        "task_id": found.task_id,
        "title": found.title,
        "state": found.issue.state if found.issue else None,
        "labels": list(found.issue.labels) if found.issue else [],
        "starts": not causes,
        "cause": _shown(cause) if cause else None,
        "predicates": [{"asks": each.name, **_shown(each.verdict)} for each in found.predicates],
        "what_would_change_it": list(dict.fromkeys(verdict.action for verdict in causes if verdict.action)),
        "ahead": list(found.ahead),
        "attempts": {cause: {"used": used, "limit": limit} for cause, (used, limit) in found.attempts.items()},
    }


def _shown(verdict: Verdict) -> dict[str, Any]:
    return {
        "holds": verdict.decision is Decision.allow,
        "rule_id": verdict.rule_id,
        "observed": verdict.observed,
        "limit": verdict.limit,
        "action": verdict.action,
        "retry_at": verdict.retry_at.isoformat() if verdict.retry_at else None,
    }


def _history(context: Context, found: Explanation) -> dict[str, Any]:
    settings, store = context.settings, context.store
    tried = runs.runs_of(store, found.task_id)
    last = tried[-1] if tried else None
    models = None
    if store.path is None or store.path.is_file():
        with glance(settings.database_url, settings.state_dir, context.clock) as look:
            models = spent(look, "task_id", found.task_id) if look is not None else None
    events = [(seq, json.loads(body)) for seq, body in ledger.newest(store, EVENTS, found.task_id)]
    names = ("run_id", "attempt", "state", "reason", "pr_url", "started_at", "finished_at")
    return {
        "runs": [run.model_dump(mode="json", include=set(names)) for run in tried[-5:]],
        "transitions": runs.transitions_of(store, last.run_id)[-TRANSITIONS:] if last else [],
        "events": [
            {"seq": seq, **{name: event[name] for name in ("timestamp", "event_type", "status", "data")}}
            for seq, event in events
        ],
        "spent": models,
        "limits": limits_of(settings.budgets, f"task:{found.task_id}"),
    }


def _timers(context: Context, found: Explanation) -> list[dict[str, str]]:
    """What ends or begins by itself, the next first."""
    now, store = context.clock.now(), context.store
    timers: list[tuple[datetime, str]] = [
        (verdict.retry_at, verdict.observed) for verdict in found.causes if verdict.retry_at is not None
    ]
    active = [run for run in runs.runs_of(store, found.task_id) if run.state in ACTIVE]
    waits = holds.holds(store)
    for run in active:
        hold = waits.get(f"run:{run.run_id}")
        if hold is not None and hold.retry_at is not None:
            timers.append((hold.retry_at, hold.observed))
    tick = last_tick(store)
    supervisor = running(context.settings.state_dir)
    if tick is not None and supervisor is not None and not supervisor.drains:
        timers.append((tick.next_at, "the next tick"))
    return [{"at": at.isoformat(), "what": what} for at, what in sorted(timers) if at > now]
