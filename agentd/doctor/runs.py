"""Runs: how they ended, and those under way that nobody carries, that are silent, or that take too long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.model import Run
from agentd.states import BLOCKED_ENDS, RETRY_ENDS, RunState
from agentd.store import runs
from agentd.store.connection import Store

MOST = 5
"""Running runs that have a line each when all is well."""
SLACK = timedelta(minutes=5)
"""How long after its limit a run may still be ending."""
RECENT = 50
"""Newest runs among which the latest failed one is looked for."""

HISTORY = Code("runs.history", "Run history", "never: how many runs there were", "nothing")
STATES = Code("runs.states", "Run status summary", "never: in which states they are", "nothing")
RUNNING = Code("runs.running", "Running run", "never: a run under way", "nothing")
DEAD = Code(
    "runs.dead",
    "Dead run",
    "the process that carried a run is gone, and nobody has taken it up",
    "start agentd where it ran: it goes on from its last stage",
)
UNTAKEN = Code(
    "runs.untaken",
    "Waiting run",
    "an admitted run is carried by nobody for longer than two leases",
    "start agentd, or a worker that has its agent",
)
OVER_TIME = Code(
    "runs.over_time", "Long run", "a run goes on for longer than `max_run_minutes`", "see what it does, or end it"
)
STUCK = Code(
    "runs.stuck",
    "Silent run",
    "an agent has shown no sign of life for longer than `agent_silence_minutes`, and was not ended",
    "see what it does, or end it",
)
FAILED = Code("runs.latest_failed", "Latest failed run", "never: how the last one that failed ended", "nothing")
LOG = Code("runs.latest_log", "Latest failed log path", "never: where its log is", "nothing")
CODES = (HISTORY, STATES, RUNNING, DEAD, UNTAKEN, OVER_TIME, STUCK, FAILED, LOG)


def checks(visit: Visit) -> Iterator[Finding]:
    """Nothing without a store."""
    store = visit.store
    if store is None:
        return
    counted = runs.count_by_state(store)
    yield HISTORY.ok(f"{sum(counted.values())} runs of {len(visit.latest)} tasks")
    yield STATES.ok(", ".join(f"{state}={number}" for state, number in sorted(counted.items())) or "none")
    well = 0
    for run in visit.active:
        found = _trouble(visit, run)
        if found is not None:
            yield found
        elif well < MOST:
            well += 1
            yield RUNNING.ok(f"{run.run_id}: {run.state} since {run.updated_at:%Y-%m-%d %H:%M} UTC", run.run_id)
    yield from _failed(store)


def _trouble(visit: Visit, run: Run) -> Finding | None:
    settings, now = visit.settings, visit.now
    lease = timedelta(seconds=settings.claim.lease_seconds)
    living = {found.executor for found in visit.executors if found.seconds_left > 0}
    if not run.executor:
        if now - run.updated_at > 2 * lease:
            said = f"{run.run_id}: is carried by nobody since {run.updated_at:%Y-%m-%d %H:%M} UTC"
            return UNTAKEN.warn(said, visit.agentd("start"), subject=run.run_id)
        return None
    if run.executor not in living:
        said = f"{run.run_id}: {run.state}, but its process {run.executor} sends no heartbeat"
        return DEAD.fail(said, visit.agentd("start"), subject=run.run_id)
    cancel = visit.agentd("runs", "cancel", run.run_id)
    limit = timedelta(minutes=settings.max_run_minutes)
    if limit and now - run.started_at > limit + SLACK and not run.cancel_reason:
        minutes = (now - run.started_at).total_seconds() / 60
        return OVER_TIME.warn(f"{run.run_id}: {run.state} for {minutes:.0f} minutes", cancel, subject=run.run_id)
    silence = timedelta(minutes=settings.agent_silence_minutes)
    quiet = now - _last_sign(visit, run)
    if (
        silence
        and not run.cancel_reason
        and run.state in (RunState.running, RunState.fixing)
        and quiet > silence + SLACK
    ):
        said = f"{run.run_id}: {run.state}, without output for {quiet.total_seconds() / 60:.0f} minutes"
        return STUCK.warn(said, cancel, subject=run.run_id)
    return None


def _last_sign(visit: Visit, run: Run) -> datetime:
    """The newest of what the store and the run's files say."""
    files = [Path(run.log_path), *(visit.settings.state_dir / "runs" / run.run_id).glob("agent-*.out")]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return max([run.updated_at, *(datetime.fromtimestamp(time, UTC) for time in times)])


def _failed(store: Store) -> Iterator[Finding]:
    bad = [run for run in runs.latest_runs(store, RECENT) if run.state in BLOCKED_ENDS | RETRY_ENDS]
    if not bad:
        yield FAILED.ok("none lately")
        return
    run = bad[0]
    yield FAILED.ok(f"{run.run_id}: {run.state}: {run.reason}", run.run_id)
    there = Path(run.log_path).is_file()
    yield LOG.ok(run.log_path if there else f"{run.log_path} is not there any more", run.run_id)
