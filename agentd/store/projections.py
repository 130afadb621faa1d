"""Projections of the store for other programs, in the original's form: runs.json and events.jsonl."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select

from agentd.model import Run
from agentd.states import RUNS_JSON_STATUS
from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.ledger import events_after
from agentd.store.runs import latest_runs

MOST_RUNS = 10_000


def project(store: Store, state_dir: Path, log_dir: Path) -> None:
    """Bring runs.json and events.jsonl up to the store. Safe to call at any time, from several processes."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "projections.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _append_events(store, log_dir / "events.jsonl"):
            _write_runs(store, state_dir / "runs.json")


def _append_events(store: Store, path: Path) -> bool:
    """Append what is new; True when anything was. A torn last line is cut off first, a lost file is written anew."""
    seq, size = _position(store)
    if not path.exists() or path.stat().st_size < size:
        seq, size = 0, 0
    rows = events_after(store, seq)
    if not rows and path.exists():
        return False
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        file.seek(size)
        while rows:
            for seq, body in rows:  # noqa: B007  # the last one is kept
                file.write(body.encode() + b"\n")
            rows = events_after(store, seq)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    _set_position(store, seq, size)
    return True


def _write_runs(store: Store, path: Path) -> None:
    records = [record_of(run) for run in reversed(latest_runs(store, MOST_RUNS))]
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(records, indent=2) + "\n")
    temporary.rename(path)


def record_of(run: Run) -> dict[str, Any]:
    """One record of runs.json, with the original's field names and status words."""
    values = {
        "run_id": run.run_id,
        "task_id": run.task_id,
        "issue_number": run.issue_number,
        "attempt": run.attempt,
        "branch": run.branch,
        "status": RUNS_JSON_STATUS[run.state],
        "pid": _pid(run.executor),
        "log_path": run.log_path,
        "worktree": run.workspace,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "failure_reason": run.reason or None,
        "pr_url": run.pr_url or None,
        "merged_at": run.merged_at.isoformat() if run.merged_at else None,
        "created_at": run.started_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
    }
    return {key: value for key, value in values.items() if value is not None}


def _pid(executor: str) -> int:
    """The process that carries the run."""
    parts = executor.split(":")
    return int(parts[-2]) if len(parts) >= 3 and parts[-2].isdigit() else 0


def _position(store: Store) -> tuple[int, int]:
    with store.read() as connection:
        found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "projected")).scalar()
    seq, _, size = (found or "0:0").partition(":")
    return int(seq), int(size)


def _set_position(store: Store, seq: int, size: int) -> None:
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == "projected"))
        connection.execute(insert(schema.meta).values(key="projected", value=f"{seq}:{size}"))
