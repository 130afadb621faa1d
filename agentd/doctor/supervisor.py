"""Is the supervisor there, does it tick, of which version is it, and what holds everything up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from math import ceil

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.store.holds import PAUSE
from agentd.store.ticks import last_tick
from agentd.supervisor.process import running

POLLS = 3
"""Poll intervals without a tick after which something is wrong; at least a minute."""

RUNNING = Code("supervisor.running", "Supervisor", "no supervisor runs: nothing is started", "start it")
TICK = Code(
    "supervisor.tick",
    "Last tick",
    "the supervisor has not looked at GitHub for three poll intervals",
    "see `supervisor.log`, and restart it",
)
VERSION = Code(
    "supervisor.version", "Version", "a process of another version carries runs", "restart it: its runs go on"
)
HEARTBEAT = Code(
    "supervisor.heartbeat",
    "Workers",
    "a process that carries runs sends no heartbeat any more",
    "start it again where it was; its runs are taken up, there or elsewhere",
)
PAUSED = Code("supervisor.paused", "Pause", "somebody paused everything, or one profile", "`agentd resume`")
HELD = Code(
    "supervisor.held",
    "Holds",
    "everything, or all tasks of a profile, wait: for a quota, for GitHub, for refs that are refused",
    "as the message says",
)
CODES = (RUNNING, TICK, VERSION, HEARTBEAT, PAUSED, HELD)


def checks(visit: Visit) -> Iterator[Finding]:
    """What the process, its notes in the store and its holds say."""
    found = running(visit.settings.state_dir)
    others = [
        each
        for each in visit.executors
        if each.leads and each.seconds_left > 0 and not (found is not None and found.is_executor(each.executor))
    ]
    if found is not None and not found.drains:
        yield RUNNING.ok(str(found))
    elif others:
        yield RUNNING.ok(f"at {others[0].place}")
    elif found is not None:
        yield RUNNING.warn(str(found), f"{visit.agentd('stop')} && {visit.agentd('start')}")
    else:
        yield RUNNING.warn("stopped", visit.agentd("start"))
    if visit.store is None:
        return
    if (found is not None and not found.drains) or others:
        yield from _tick(visit)
    yield from _workers(visit)
    yield from _holds(visit)


def _tick(visit: Visit) -> Iterator[Finding]:
    assert visit.store is not None
    tick = last_tick(visit.store)
    if tick is None:
        return
    patience = max(timedelta(seconds=POLLS * visit.settings.poll_interval_seconds), timedelta(minutes=1))
    age = visit.now - tick.at
    said = f"{tick.at:%Y-%m-%d %H:%M:%S} UTC, {age.total_seconds():.0f} s ago"
    yield TICK.warn(said, visit.agentd("restart")) if age > patience else TICK.ok(said)


def _workers(visit: Visit) -> Iterator[Finding]:
    mine, others, silent = version("agentd"), 0, 0
    here = running(visit.settings.state_dir)
    for each in visit.executors:
        # A supervisor that is alone on its store reports only at its ticks, which may be further apart.
        if each.seconds_left <= 0 and not (here is not None and here.is_executor(each.executor)):
            silent += 1
            said = f"{each.place} sends no heartbeat"
            yield HEARTBEAT.warn(said, visit.agentd("start"), subject=each.place)
        elif each.version != mine:
            others += 1
            said = f"{each.place} runs {each.version}, this is {mine}"
            yield VERSION.warn(said, visit.agentd("restart"), subject=each.place)
    if not others:
        yield VERSION.ok(mine)
    if not silent:
        yield HEARTBEAT.ok(f"{len(visit.executors)} carry runs")


def _holds(visit: Visit) -> Iterator[Finding]:
    counted = {PAUSED.code: 0, HELD.code: 0}
    for scope, hold in visit.holds.items():
        over = hold.retry_at is not None and hold.retry_at <= visit.now
        if over or (scope not in (PAUSE, "*", "github") and not scope.startswith((f"{PAUSE}:", "profile:"))):
            continue
        code = PAUSED if scope.startswith(PAUSE) else HELD
        counted[code.code] += 1
        until = f" until {hold.retry_at:%Y-%m-%d %H:%M} UTC" if hold.retry_at else ""
        wait = f"sleep {ceil((hold.retry_at - visit.now).total_seconds())}" if hold.retry_at else ""
        profile = scope.partition(":")[2]
        resume = visit.agentd("resume", *(["--profile", profile] if profile else []))
        remedy = resume if code is PAUSED else wait or visit.agentd("reset", scope)
        yield code.warn(f"{hold.observed} [{hold.rule_id}]{until}", remedy, subject=scope)
    for code in (PAUSED, HELD):
        if not counted[code.code]:
            yield code.ok("nothing is paused" if code is PAUSED else "nothing holds everything up")
