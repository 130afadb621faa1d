"""One run, one task, the graph of tasks, and the ledger, as JSON. What they hold of others' text stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select

from agentd.doctor.examine import examine
from agentd.doctor.visit import Visit
from agentd.errors import GitError
from agentd.git.mirror import known_mirror
from agentd.model import Run
from agentd.policy.budget_settings import NANO
from agentd.sandbox.redact import redact
from agentd.states import ACTIVE, ENDS, RunState
from agentd.store import attempts, holds, ledger, runs, schema, spending, steps
from agentd.store.connection import Store
from agentd.store.glance import glance
from agentd.store.plans import rows_of
from agentd.supervisor.retry import STAGES
from agentd.web.overview import brief
from agentd.web.source import NotHere, Source

MOST_ROWS = 200
URGENT = ("fail", "warn", "ok")
FINDING = ("code", "level", "title", "message", "remediation", "subject", "evidence")
MOST_CHARACTERS = 400_000
"""of a diff"""
OUTPUT_CHARACTERS = 20_000
"""of the end of a verify command's output"""


def find(source: Source, identifier: str) -> dict[str, Any]:
    """The run, or the task by its id or its issue's number, with what kind it is. Raises NotHere."""
    if runs.get_run(source.store, identifier) is not None:
        return {"kind": "run", "run": run(source, identifier)}
    return {"kind": "task", "task": task(source, identifier)}


def run(source: Source, run_id: str) -> dict[str, Any]:
    """Everything about a run. Raises NotHere."""
    store = source.store
    found = require_run(source, run_id)
    told = runs.order_of(store, run_id)
    events = [
        {"at": event.timestamp.isoformat(), "type": event.event_type, "status": event.status, "data": event.data}
        for event in ledger.events_of(store, run_id)[-MOST_ROWS:]
    ]
    return found.model_dump(mode="json") | {
        **_brief(found),
        "goal": told["task"]["goal"],
        "verify_command": told["task"]["verify_command"],
        "sandbox": told.get("sandbox", "none"),
        "transitions": runs.transitions_of(store, run_id),
        "steps": [step.model_dump(mode="json") for step in steps.steps_of(store, run_id)[:2_000]],
        "calls": [_call(call) for call in spending.calls_of(store, run_id)[-MOST_ROWS:]],
        "events": events,
        "verify": _verify_outputs(source, run_id),
        "has_log": source.log_of(run_id).is_file(),
        "has_diff": bool(found.base_sha and found.head_sha),
        "has_evidence": evidence_dir(source, run_id).is_dir(),
        "may": _orders(found),
    }


def runs_page(source: Source, before: str, state: str, words: str) -> dict[str, Any]:
    """Runs that began before a moment (empty: now), newest first, of one state, whose id or title has the words."""
    table = schema.runs
    query = select(table.c.run_id).order_by(table.c.started_at.desc()).limit(50)
    if before:
        query = query.where(table.c.started_at < before)
    if state:
        query = query.where(table.c.state == state)
    if words:
        like = f"%{words.lower()}%"
        query = query.where(or_(func.lower(table.c.title).like(like), func.lower(table.c.run_id).like(like)))
    with source.store.read() as connection:
        found = list(connection.execute(query).scalars())
    rows = [_brief(known) for run_id in found if (known := runs.get_run(source.store, run_id)) is not None]
    return {"runs": rows, "before": rows[-1]["started_at"] if len(rows) == 50 else None}


def task(source: Source, identifier: str) -> dict[str, Any]:
    """A task with its runs, holds and attempts; by its id or by its issue's number. Raises NotHere."""
    store = source.store
    planned = {str(row["task_id"]): row for row in _plan(source)}
    numbers = {str(row["issue_number"]): name for name, row in planned.items()}
    wanted = identifier.removeprefix("#")
    name = numbers.get(wanted) or _task_of_issue(store, wanted) or identifier
    mine = runs.runs_of(store, name)
    if not mine and name not in planned:
        raise NotHere(f"{identifier}: no run, task or issue that agentd has seen")
    held = holds.holds(store).get(name)
    return {
        "task_id": name,
        "plan": planned.get(name),
        "hold": held.model_dump(mode="json") if held else None,
        "attempts": attempts.counts(store, name),
        "runs": [_brief(each) for each in reversed(mine)],
    }


def graph(source: Source) -> dict[str, Any]:
    """Tasks that are planned, run or depend on each other: {tasks, edges: [needed, who needs it]}."""
    store = source.store
    planned = {row["task_id"]: row for row in _plan(source)}
    latest = runs.latest_by_task(store)
    edges = [(needed, name) for name, row in planned.items() for needed in row.get("dependencies", ())]
    shown = dict.fromkeys([*planned, *(needed for needed, _ in edges), *(r.task_id for r in runs.active_runs(store))])
    tasks = []
    for name in list(shown)[:500]:
        row, last = planned.get(name, {}), latest.get(name)
        tasks.append(
            {
                "task_id": name,
                "title": row.get("title") or (last.title if last else ""),
                "state": str(last.state) if last else "",
                "rule_id": row.get("rule_id", ""),
                "run_id": last.run_id if last else None,
            }
        )
    return {"tasks": tasks, "edges": edges}


def ledger_page(source: Source, before: int | None) -> dict[str, Any]:
    """Events before a sequence number (None: the newest), newest first."""
    table = schema.events
    query = select(table.c.seq, table.c.body, table.c.hash).order_by(table.c.seq.desc()).limit(100)
    if before is not None:
        query = query.where(table.c.seq < before)
    with source.store.read() as connection:
        rows = [
            {"seq": row.seq, "hash": row.hash[:12], "event": json.loads(row.body)} for row in connection.execute(query)
        ]
    return {"events": rows, "before": rows[-1]["seq"] if len(rows) == 100 else None}


def diff(source: Source, run_id: str) -> str:
    """What the run changed, as a patch; cut at its end. Raises NotHere."""
    found, mirror = require_run(source, run_id), known_mirror(source.settings)
    if mirror is None or not found.base_sha or not found.head_sha:
        raise NotHere(f"{run_id}: has no commit on this host yet")
    try:
        patch = mirror.git("diff", "--no-color", "--no-ext-diff", "--no-textconv", found.base_sha, found.head_sha)
    except GitError as error:
        raise NotHere(f"{run_id}: its commits are not in this host's mirror: {error}") from None
    return redact(patch[:MOST_CHARACTERS], source.secrets)


def doctor(source: Source) -> dict[str, Any]:
    """The doctor's findings, those that need somebody first."""
    visit = Visit(source.loaded, source.environ, source.folder, source.loaded.file, smoke=False)
    found = sorted(examine(visit), key=lambda finding: URGENT.index(finding.level))
    return {"findings": [{name: getattr(each, name) for name in FINDING} for each in found]}


def require_run(source: Source, run_id: str) -> Run:
    """The run. Raises NotHere."""
    found = runs.get_run(source.store, run_id)
    if found is None:
        raise NotHere(f"{run_id}: no such run")
    return found


def _call(call: spending.Call) -> dict[str, Any]:
    names = ("model", "status", "state", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    shown = {name: getattr(call, name) for name in names}
    usd = None if call.nano_usd is None else call.nano_usd / NANO
    return shown | {"usd": usd, "started_at": call.started_at, "finished_at": call.finished_at}


def _verify_outputs(source: Source, run_id: str) -> list[dict[str, str]]:
    """The end of what each verify command printed, where this host has it."""
    found = []
    for path in sorted(source.run_dir(run_id).glob("verify-*.log"))[:10]:
        text = _tail(path, OUTPUT_CHARACTERS)
        found.append({"name": path.stem, "output": redact(text, source.secrets)})
    return found


def _tail(path: Path, characters: int) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - characters))
        return file.read().decode(errors="replace")


def evidence_dir(source: Source, run_id: str) -> Path:
    """Where the run's evidence is, on the host that carried it."""
    return source.run_dir(run_id) / "evidence"


def _task_of_issue(store: Store, number: str) -> str | None:
    if not number.isdigit():
        return None
    query = select(schema.runs.c.task_id).where(schema.runs.c.issue_number == int(number)).limit(1)
    with store.read() as connection:
        return connection.execute(query).scalar()


def _orders(run: Run) -> list[str]:
    """What a person may order of the run now."""
    if run.state in ACTIVE:
        return ["cancel"]
    return ["retry", *(f"retry:{stage}" for stage in STAGES)] if run.state in ENDS - {RunState.merged} else []


def _brief(run: Run) -> dict[str, Any]:
    return brief(run.model_dump(mode="json"))


def _plan(source: Source) -> list[dict[str, Any]]:
    with glance(source.settings.database_url, source.settings.state_dir, source.clock) as look:
        return rows_of(look) if look is not None else []
