"""One tick: reconcile, preflight, observe, plan, dispatch. Right after any missed event, restart or edit by hand."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agentd.errors import (
    ClaimLost,
    ConfigurationError,
    Forbidden,
    GitError,
    GitHubError,
    NotFound,
    RateLimited,
    Rejected,
    Unavailable,
)
from agentd.git.naming import TASK_ID
from agentd.github.comments import upsert_sticky
from agentd.model import Decision, Run, Verdict
from agentd.run.context import Context
from agentd.run.report import STICKY
from agentd.run.stages.finish import NO_BASE, REFUSED
from agentd.store import holds, verdicts
from agentd.store.attempts import backoff_seconds
from agentd.store.plans import note_plan
from agentd.store.ticks import TickNote, note_tick
from agentd.supervisor import reconcile
from agentd.supervisor.admission import Admission
from agentd.supervisor.decide import ask, gone, profile_of, room
from agentd.supervisor.dispatch import admit_run
from agentd.supervisor.host import Host
from agentd.supervisor.lead import Lead
from agentd.supervisor.plan import Candidate, plan, row_of
from agentd.supervisor.rooms import Rooms
from agentd.supervisor.tasks import task_id_of, task_of
from agentd.supervisor.world import GITHUB, STRAYS_SECONDS, World, observe

SAID_BY_LABELS = frozenset({"running", "in_review", "in_progress", "blocked"})
"""Rules of the plan that only repeat what the issue's label says, and a run has decided before."""


@dataclass
class Memory:
    """What one supervisor process remembers between ticks; all of it may be forgotten."""

    admissions: dict[int, tuple[datetime, Admission]] = field(default_factory=dict)
    strays_due: float = 0.0
    """boot time from which stranded issues are looked for again"""
    troubles: int = 0
    """ticks in a row that GitHub was out of reach"""
    host: Host | None = None
    lead: Lead | None = None
    cleaning: asyncio.Task[None] | None = None
    recording: asyncio.Task[None] | None = None
    record_due: float = 0.0
    """boot time from which evidence and traces are made again"""
    unwritten: str = ""
    """why runs.json and the events could not be written the last time"""
    said: dict[str, tuple[str, str]] = field(default_factory=dict)
    """why each task waited at the last tick: rule and what was observed"""


@dataclass(frozen=True)
class Tick:
    """What a tick did: the plan with a verdict for each task, the runs that were started, and what it found out."""

    candidates: list[Candidate] = field(default_factory=list)
    started: list[Run] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    moved: list[Run] = field(default_factory=list)
    """runs whose pull request was merged, closed or opened again"""
    hold: Verdict | None = None
    """why GitHub was not asked, or did not answer"""


async def tick(context: Context, memory: Memory, *, dry_run: bool = False, take: bool = True) -> Tick:
    """One tick. Trouble with GitHub, a token that ran out included, becomes a hold with a time, never the end.

    Without `take` this process only decides, and leaves it to others to carry what it admits.
    """
    if dry_run:
        return await _decide_and_dispatch(context, memory, dry_run=True)
    host = memory.host = memory.host or Host(context)
    lead = memory.lead = memory.lead or Lead(context)
    await asyncio.to_thread(host.beat)
    revived = await host.go_on()
    if not await lead.take():
        return Tick(revived=revived + await host.take(), hold=_standby(lead))
    try:
        await reconcile.release_dead(context, lead.since)
        await reconcile.end_foreign(context)
        reconcile.mind_untaken(context)
        done = await _decide_and_dispatch(context, memory)
        _note(context)
    except ClaimLost:
        return Tick(revived=revived, hold=_standby(lead))
    if done.hold is None:
        note_plan(context.store, [row_of(candidate) for candidate in done.candidates])
    if take:
        new = {run.run_id for run in done.started}
        revived += [run_id for run_id in await host.take() if run_id not in new]
    return replace(done, revived=revived)


def _note(context: Context) -> None:
    """Say when this tick was, for who watches."""
    now, rate = context.clock.now(), context.github.rate_state()
    following = now + timedelta(seconds=context.settings.poll_interval_seconds)
    left = (rate.remaining, rate.limit, rate.reset_at) if rate is not None else ()
    note_tick(context.store, TickNote(now, following, *left))


async def _decide_and_dispatch(context: Context, memory: Memory, *, dry_run: bool = False) -> Tick:
    hold = holds.holds(context.store).get(GITHUB)
    if hold is not None and hold.retry_at is not None and hold.retry_at > context.clock.now():
        return Tick(hold=hold)
    _preflight(context)
    try:
        candidates, moved = await asyncio.to_thread(_look_and_decide, context, memory, dry_run)
    except (GitHubError, GitError) as error:
        memory.troubles += 1
        return Tick(hold=_hold_github(context, memory, error))
    memory.troubles = 0
    holds.lift(context.store, GITHUB)
    if not dry_run:
        _record(context, memory, candidates)
    started = [] if dry_run else _dispatch(context, memory, candidates)
    return Tick(candidates, started, moved=moved)


def _look_and_decide(context: Context, memory: Memory, dry_run: bool) -> tuple[list[Candidate], list[Run]]:
    with memory.lead.guarding() if memory.lead else nullcontext():
        world, moved = _look(context, memory, dry_run)
        return _decide(context, memory, world, dry_run), moved


def _standby(lead: Lead) -> Verdict:
    return Verdict(
        control="lead",
        rule_id="standby",
        decision=Decision.hold,
        scope="repository",
        observed=f"{lead.holder() or 'nobody'} decides for this store; this process only carries runs",
        action="nothing to do: it takes over when the other one is gone",
    )


def _preflight(context: Context) -> None:
    """End the hold of everything when its cause is gone, or worth another try."""
    hold = holds.holds(context.store).get("*")
    if hold is not None and hold.rule_id in (REFUSED, NO_BASE):
        due = hold.retry_at is not None and hold.retry_at <= context.clock.now()
        if due or (hold.rule_id == REFUSED and not context.settings.claim.remote):
            holds.lift(context.store, "*")


def _forget_holds(context: Context, world: World) -> None:
    """A hold of a task whose issue is closed, or not labelled any more, is over."""
    here = {task_id_of(issue) for issue in world.issues.values()}
    for scope in world.holds:
        if TASK_ID.fullmatch(scope) and scope not in here:
            holds.lift(context.store, scope)


def _look(context: Context, memory: Memory, dry_run: bool) -> tuple[World, list[Run]]:
    world = observe(context)
    if dry_run:
        return world, []
    _forget_holds(context, world)
    moved = reconcile.follow_pulls(context)
    if moved:
        world = observe(context)
    changed = reconcile.follow_people(context, world)
    if context.clock.boottime() >= memory.strays_due:
        changed |= reconcile.free_stranded(context, world)
        memory.strays_due = context.clock.boottime() + STRAYS_SECONDS
    return observe(context) if changed else world, moved


def _decide(context: Context, memory: Memory, world: World, dry_run: bool) -> list[Candidate]:
    """The plan; what must be asked of GitHub is asked for as many tasks as could start now."""
    rooms = Rooms.of(context.store, world.active, context.settings.max_parallel)
    decided = []
    for candidate in plan(world, context.settings, context.clock.now()):
        verdict = candidate.verdict
        if verdict.decision is Decision.allow:
            verdict = room(context, candidate, rooms, rehearsed=dry_run) or _ask(context, memory, candidate, dry_run)
            if verdict.decision is Decision.allow:
                rooms.admit()
        decided.append(Candidate(candidate.issue, candidate.task, verdict))
    return decided


def _ask(context: Context, memory: Memory, candidate: Candidate, dry_run: bool) -> Verdict:
    """The verdict of the rules that need more of GitHub than the list of issues; what a person must end is told."""
    verdict = ask(context, memory.admissions, candidate)
    try:
        if verdict.control == "trust" and verdict.decision is not Decision.allow:
            _tell(context, candidate, verdict, dry_run)
    except NotFound as error:
        return gone(candidate, error)
    return verdict


def _dispatch(context: Context, memory: Memory, candidates: list[Candidate]) -> list[Run]:
    started = []
    for candidate in candidates:
        if candidate.verdict.decision is not Decision.allow:
            continue
        remembered = memory.admissions.get(candidate.issue.number)
        comments = remembered[1].comments if remembered else ()
        contracts = {task.task_id: task for task in [candidate.task.contract] if task is not None}
        task = task_of(candidate.issue, contracts, context.settings, comments)
        fence = memory.lead.fence if memory.lead else None
        try:
            run = admit_run(context, task, profile_of(context, candidate), candidate.issue.html_url, fence)
        except ConfigurationError as error:
            verdict = candidate.verdict.model_copy(
                update={"decision": Decision.hold, "rule_id": "profile", "observed": str(error)}
            )
            verdicts.hold(context.store, verdict, context.about(None, "supervisor", candidate.task))
            continue
        if run is not None:
            started.append(run)
    return started


def _record(context: Context, memory: Memory, candidates: list[Candidate]) -> None:
    """Why each task waits, as an Event whenever that changes."""
    now = {each.task.task_id: each for each in candidates if each.verdict.rule_id not in SAID_BY_LABELS}
    said = {task_id: (each.verdict.rule_id, each.verdict.observed) for task_id, each in now.items()}
    news = [
        (each.verdict, context.about(None, "supervisor", each.task))
        for task_id, each in now.items()
        if each.verdict.decision is not Decision.allow
        and each.verdict.control != "trust"  # those are holds, told on the issue too
        and memory.said.get(task_id) != said[task_id]
    ]
    verdicts.record_all(context.store, news)
    memory.said = said


def _tell(context: Context, candidate: Candidate, verdict: Verdict, dry_run: bool) -> None:
    """A hold that a person must end is told once on the issue, and again only when its reason changes."""
    if not verdicts.hold(context.store, verdict, context.about(None, "supervisor", candidate.task)) or dry_run:
        return
    lines = [
        "**Held: agentd will not start on this yet**",
        "",
        f"{verdict.observed} (rule `{verdict.rule_id}`)",
        "",
        f"To let it start: {verdict.action}.",
    ]
    try:
        upsert_sticky(context.github, candidate.issue.number, STICKY, "\n".join(lines))
    except (Forbidden, Rejected):
        return  # it is full or locked, and must not keep all others waiting
    except GitHubError:
        holds.lift(context.store, verdict.scope)  # told at the next tick instead
        raise


def _hold_github(context: Context, memory: Memory, error: GitHubError | GitError) -> Verdict:
    until = context.clock.now() + timedelta(seconds=backoff_seconds(memory.troubles))
    if isinstance(error, RateLimited):
        rule, until = f"rate_limit_{error.kind}", error.retry_at
    elif isinstance(error, Unavailable | GitError):
        rule = "github_unavailable"
    else:
        rule = "github_refused"
    verdict = Verdict(
        control="github",
        rule_id=rule,
        decision=Decision.hold,
        scope=GITHUB,
        observed=str(error),
        action="nothing to do: agentd goes on by itself",
        retry_at=until,
    )
    context.hold(verdict, source="supervisor")
    return verdict
