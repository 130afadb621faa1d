"""Projections of the store for other programs, in the original's form: runs.json and events.jsonl."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class EventFiles:
    """Where events are projected to, and when a new file is begun."""

    path: Path
    max_bytes: int = 0
    """0 is no limit"""
    kept: int = 10
    """earlier files beside it"""


@dataclass(frozen=True)
class _Position:
    """How far events are projected: the last one in the file, how many bytes it then had, the last one before it."""

    seq: int = 0
    size: int = 0
    before: int = 0


def project(store: Store, state_dir: Path, events: EventFiles) -> None:
    """Bring runs.json and the file of events up to the store. Safe to call at any time, from several processes.

    Raises OSError when a file cannot be written; a later call catches up.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    events.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "projections.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        appended, path = _append_events(store, events), state_dir / "runs.json"
        if appended or _is_older(path, events.path):
            _write_runs(store, path)


def _is_older(path: Path, events: Path) -> bool:
    """Whether runs.json could not be written when the events were."""
    return not path.exists() or path.stat().st_mtime_ns < events.stat().st_mtime_ns


def _append_events(store: Store, files: EventFiles) -> bool:
    """Append what is new; True when anything was. A torn last line is cut off first, a lost file is written anew."""
    at = _position(store)
    if not files.path.exists() or files.path.stat().st_size < at.size:
        at = _Position(at.before, 0, at.before)
    rows = events_after(store, at.seq)
    if not rows and files.path.exists():
        return False
    while True:
        if files.max_bytes and at.size >= files.max_bytes:
            _rotate(files, at)
            at = _Position(at.seq, 0, at.seq)
        at = _append(files.path, at, rows)
        _set_position(store, at)
        rows = events_after(store, at.seq)
        if not rows:
            return True


def _append(path: Path, at: _Position, rows: list[tuple[int, str]]) -> _Position:
    """Append whole lines, or on a full disk nothing: others read this file."""
    with path.open("r+b" if path.exists() else "w+b", buffering=0) as file:
        file.truncate(at.size)
        file.seek(at.size)
        left = memoryview(b"".join(body.encode() + b"\n" for _, body in rows))
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(at.size)
            raise
        return _Position(rows[-1][0] if rows else at.seq, file.tell(), at.before)


def _rotate(files: EventFiles, at: _Position) -> None:
    """`events.jsonl` becomes `events.<last sequence number>.jsonl`; the oldest go when there are too many."""
    path = files.path
    path.rename(path.with_name(f"{path.stem}.{at.seq}{path.suffix}"))
    for old in earlier_files(path)[: -files.kept or None]:
        old.unlink()


def earlier_files(path: Path) -> list[Path]:
    """What the file of events was before, the oldest first."""
    found = {
        int(number): each
        for each in path.parent.glob(f"{path.stem}.*{path.suffix}")
        if (number := each.name.removeprefix(f"{path.stem}.").removesuffix(path.suffix)).isdigit()
    }
    return [found[number] for number in sorted(found)]


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


def _position(store: Store) -> _Position:
    with store.read() as connection:
        found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "projected")).scalar()
    return _Position(*(int(part) for part in (found or "0").split(":")))


def _set_position(store: Store, at: _Position) -> None:
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == "projected"))
        connection.execute(insert(schema.meta).values(key="projected", value=f"{at.seq}:{at.size}:{at.before}"))
