"""How long the doctor looks at a large installation, and what `agentd status` takes there."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from pathlib import Path

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.model import Event, Run
from agentd.states import RunState
from agentd.store import attempts, ledger, runs
from agentd.store.connection import Store, open_store
from benchmarks.rows import Row
from benchmarks.site import REPO, Site, site

RUNS, BRANCHES, WORKSPACES = 10_000, 10_000, 500
EVENTS_PER_RUN = 5
ISSUES = 100
TIMES = 5
WAITING = ("agent-ready", "status:blocked")
BAR_SECONDS = 2.0


def doctor() -> list[Row]:
    """Seconds for `agentd doctor` as a process, and milliseconds for `agentd status`, with all of that."""
    with site() as place:
        place.configure(agent="cat > work.txt")
        place.issue("one")
        place.agentd("once")
        for number in range(ISSUES):
            place.issue(f"Number {number}", WAITING)
        _branches(place)
        store = open_store("", place.state, SystemClock())
        _runs(store, place)
        store.close()
        for number in range(WORKSPACES):
            (place.folder / "worktrees" / REPO / f"issue-{number + 1000}").mkdir(parents=True)
        looked = [_seconds(place, "doctor") for _ in range(TIMES)]
        seen = [1000 * _seconds(place, "status") for _ in range(TIMES)]
        note = f"{RUNS:,} runs, {BRANCHES:,} branches, {WORKSPACES} workspaces"
        return [
            Row("doctor", statistics.median(looked), "s", BAR_SECONDS, note),
            Row("agentd status, large", statistics.median(seen), "ms", 500, f"{RUNS:,} runs"),
        ]


def _seconds(place: Site, command: str) -> float:
    began = time.perf_counter()
    place.agentd(command)
    return time.perf_counter() - began


def _branches(place: Site) -> None:
    """On the remote, as finished tasks leave them."""
    remote = place.folder.parent / "github" / f"{REPO}.git"
    head = git("rev-parse", "main", git_dir=remote)
    orders = "".join(f"create refs/heads/agent/issue-{number} {head}\n" for number in range(1000, 1000 + BRANCHES))
    git("update-ref", "--stdin", git_dir=remote, stdin=orders.encode())


def _runs(store: Store, place: Site) -> None:
    """One of each task, closed without a merge, with its events."""
    began = store.clock.now() - timedelta(days=30)
    with store.write() as connection:
        for number in range(1000, 1000 + RUNS):
            at, task_id = began + timedelta(seconds=number), f"issue-{number}"
            run = Run(
                run_id=f"{task_id}-1-aaaaaa",
                task_id=task_id,
                issue_number=number,
                attempt=attempts.charge(store, connection, task_id, f"{task_id}-1-aaaaaa"),
                profile="build@1",
                state=RunState.closed_unmerged,
                branch=f"agent/{task_id}",
                log_path=str(Path("/nonexistent")),
                started_at=at,
                updated_at=at,
            )
            runs.add_run(store, connection, run, {})
            for each in range(EVENTS_PER_RUN):
                ledger.append_in(store, connection, _event(run, each))


def _event(run: Run, number: int) -> Event:
    return Event(
        event_id=f"evt_{run.task_id}_{number}",
        timestamp=run.started_at,
        source="worker",
        event_type="verify_finished",
        repo=REPO,
        task_id=run.task_id,
        run_id=run.run_id,
        status="ok",
        data={"exit_code": 0, "verify_command": "true"},
    )
