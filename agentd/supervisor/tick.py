"""One tick: reconcile, preflight, observe, plan, dispatch. Right after any missed event, restart or edit by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agentd.errors import ConfigurationError, GitError, GitHubError, RateLimited, Unauthorized, Unavailable
from agentd.github.comments import upsert_sticky
from agentd.model import Decision, Run, Verdict
from agentd.run import engine
from agentd.run.context import Context
from agentd.run.report import STICKY
from agentd.run.stages.finish import REFUSED
from agentd.store import holds
from agentd.store.attempts import backoff_seconds
from agentd.supervisor import reconcile
from agentd.supervisor.admission import Admission, admit
from agentd.supervisor.dispatch import admit_run
from agentd.supervisor.plan import Candidate, plan
from agentd.supervisor.tasks import profile_name, task_of
from agentd.supervisor.world import World, observe

STRAYS_SECONDS = 60.0
GITHUB = "github"
"""Scope of the hold while GitHub may not, or cannot, be asked."""


@dataclass
class Memory:
    """What one supervisor process remembers between ticks; all of it may be forgotten."""

    admissions: dict[int, tuple[datetime, Admission]] = field(default_factory=dict)
    strays_due: float = 0.0
    """boot time from which stranded issues are looked for again"""
    troubles: int = 0
    """ticks in a row that GitHub was out of reach"""


@dataclass(frozen=True)
class Tick:
    """What a tick did: the plan with a verdict for each task, and the runs that were started."""

    candidates: list[Candidate]
    started: list[Run]
    revived: list[str]


async def tick(context: Context, memory: Memory, *, dry_run: bool = False) -> Tick:
    """One tick. Trouble with GitHub becomes a hold with a time; Unauthorized is raised, for nothing can be done."""
    revived = [] if dry_run else await reconcile.revive(context)
    hold = holds.holds(context.store).get(GITHUB)
    if hold is not None and hold.retry_at is not None and hold.retry_at > context.clock.now():
        return Tick([], [], revived)
    _preflight(context)
    try:
        world = await asyncio.to_thread(_look, context, memory, dry_run)
        candidates = await asyncio.to_thread(_decide, context, memory, world, dry_run)
    except Unauthorized:
        raise
    except (RateLimited, Unavailable, GitError) as error:
        memory.troubles += 1
        _hold_github(context, memory, error)
        return Tick([], [], revived)
    memory.troubles = 0
    holds.lift(context.store, GITHUB)
    started = [] if dry_run else await _dispatch(context, memory, candidates)
    return Tick(candidates, started, revived)


def _preflight(context: Context) -> None:
    """End the hold of everything when its cause is gone, or worth another try."""
    hold = holds.holds(context.store).get("*")
    if hold is not None and hold.rule_id == REFUSED:
        due = hold.retry_at is not None and hold.retry_at <= context.clock.now()
        if due or not context.settings.claim.remote:
            holds.lift(context.store, "*")


def _look(context: Context, memory: Memory, dry_run: bool) -> World:
    world = observe(context)
    if dry_run:
        return world
    changed = reconcile.follow_pulls(context)
    changed |= reconcile.follow_people(context, world)
    if context.clock.boottime() >= memory.strays_due:
        changed |= reconcile.free_stranded(context, world)
        memory.strays_due = context.clock.boottime() + STRAYS_SECONDS
    return observe(context) if changed else world


def _decide(context: Context, memory: Memory, world: World, dry_run: bool) -> list[Candidate]:
    """The plan, with the trust decision for as many tasks as could start now."""
    free = context.settings.max_parallel - len(world.active)
    decided = []
    for candidate in plan(world, context.settings, context.clock.now()):
        verdict = candidate.verdict
        if verdict.decision is Decision.allow and free > 0:
            admission = admit(
                context.github,
                context.store,
                candidate.issue,
                candidate.task.task_id,
                context.settings.trust,
                memory.admissions,
            )
            if admission.verdict.decision is Decision.allow:
                free -= 1
            else:
                verdict = admission.verdict
                _tell(context, candidate, verdict, dry_run)
        elif verdict.decision is Decision.allow:
            limit = str(context.settings.max_parallel)
            verdict = verdict.model_copy(
                update={
                    "decision": Decision.hold,
                    "rule_id": "no_slot",
                    "observed": f"{limit} runs at once",
                    "limit": limit,
                    "action": "nothing to do, or raise MAX_PARALLEL",
                }
            )
        decided.append(Candidate(candidate.issue, candidate.task, verdict))
    return decided


async def _dispatch(context: Context, memory: Memory, candidates: list[Candidate]) -> list[Run]:
    started = []
    for candidate in candidates:
        if candidate.verdict.decision is not Decision.allow:
            continue
        remembered = memory.admissions.get(candidate.issue.number)
        comments = remembered[1].comments if remembered else ()
        contracts = {task.task_id: task for task in [candidate.task.contract] if task is not None}
        task = task_of(candidate.issue, contracts, context.settings, comments)
        try:
            profile = context.settings.profile_named(profile_name(candidate.issue, context.settings))
            run = admit_run(context, task, profile, candidate.issue.html_url)
        except ConfigurationError as error:
            verdict = candidate.verdict.model_copy(
                update={"decision": Decision.hold, "rule_id": "profile", "observed": str(error)}
            )
            holds.hold(context.store, verdict)
            continue
        if run is not None:
            await engine.enqueue(run.run_id)
            started.append(run)
    return started


def _tell(context: Context, candidate: Candidate, verdict: Verdict, dry_run: bool) -> None:
    """A hold that a person must end is told once on the issue, and again only when its reason changes."""
    if not holds.hold(context.store, verdict) or dry_run:
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
    except GitHubError:
        holds.lift(context.store, verdict.scope)  # told at the next tick instead
        raise


def _hold_github(context: Context, memory: Memory, error: RateLimited | Unavailable | GitError) -> None:
    if isinstance(error, RateLimited):
        rule, until = f"rate_limit_{error.kind}", error.retry_at
    else:
        rule, until = "github_unavailable", context.clock.now() + timedelta(seconds=backoff_seconds(memory.troubles))
    holds.hold(
        context.store,
        Verdict(
            control="github",
            rule_id=rule,
            decision=Decision.hold,
            scope=GITHUB,
            observed=str(error),
            action="nothing to do: agentd goes on by itself",
            retry_at=until,
        ),
    )
