"""Why an issue is not worked on: every rule of the tick, asked for one issue. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.errors import ConfigurationError, GitHubError, NotFound, RateLimited
from agentd.git.mirror import Mirror, known_mirror
from agentd.git.naming import TASK_ID
from agentd.git.runner import Author
from agentd.github.claims import remote_claim
from agentd.github.client import GitHub, connect
from agentd.github.issues import issue_of
from agentd.model import Decision, Issue, Task, Verdict
from agentd.run.context import Context
from agentd.run.executor import executor_id
from agentd.store import attempts, claims, executors, holds
from agentd.store.connection import open_store, scratch_copy
from agentd.store.etags import RecalledEtags
from agentd.store.executors import Executor
from agentd.supervisor.decide import ask, room
from agentd.supervisor.plan import Candidate, Predicate, Question, plan, predicates
from agentd.supervisor.process import running
from agentd.supervisor.rooms import Rooms, is_alive
from agentd.supervisor.tasks import task_of
from agentd.supervisor.world import GITHUB, World, observe

MOST_ASKED = 10
"""Tasks before it whose trust is asked for, to know whether they take the free places."""
ANSWER_SECONDS = 10
REFERENCE = re.compile(r"(?:(?P<repo>[\w.-]+/[\w.-]+)#|#)?(?P<number>[1-9][0-9]{0,9})")
ADDRESS = re.compile(r"https?://[^/\s]+/(?P<repo>[\w.-]+/[\w.-]+)/(?:issues|pull)/(?P<number>[1-9][0-9]{0,9})[^\s]*")


@dataclass(frozen=True)
class Explanation:
    """Everything that decides about one issue now."""

    issue_number: int | None
    task_id: str
    title: str
    issue: Issue | None
    task: Task | None
    predicates: tuple[Predicate, ...]
    """in the order in which they decide"""
    ahead: tuple[str, ...] = ()
    """tasks that go first"""
    attempts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """cause -> (bad ends since the last success, how many may be)"""

    @property
    def causes(self) -> tuple[Verdict, ...]:
        """What speaks against a start; the first one decides."""
        return tuple(each.verdict for each in self.predicates if each.verdict.decision is not Decision.allow)


def looking(settings: Settings, environ: Mapping[str, str], clock: Clock | None = None) -> Context:
    """Doors for reading only, to whatever is there. Raises ConfigurationError, StoreError."""
    clock = clock or SystemClock()
    there = bool(settings.database_url) or (settings.state_dir / "agentd.db").is_file()
    store = (
        open_store(settings.database_url, settings.state_dir, clock, create=False, read_only=True)
        if there
        else scratch_copy(None, clock)
    )
    github = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        settings.repo,
        clock=clock.now,
        sleep=lambda seconds: None,
        cache=RecalledEtags(store if there else None),
        reserve=0,
        timeout_seconds=ANSWER_SECONDS,
    )
    mirror = known_mirror(settings) or Mirror(Path("/nonexistent"), "", "", settings.base_branch, Author("", ""))
    executor = executor_id(settings.state_dir)
    return Context(settings, store, github, mirror, clock, executor, environ, holder=executor)


def explain(context: Context, reference: str) -> Explanation:
    """What decides about the issue: `7`, `#7`, `owner/repo#7`, its address, or a task's id.

    Raises ConfigurationError for what names no issue of this repository. Trouble with GitHub is a predicate.
    """
    number, task_id = _named(context, reference)
    try:
        world = observe(context)
        number = number or _number_of(world, task_id)
        if number is None:
            return _unknown(task_id, _no_issue(world, task_id))
        issue, pull = _issue(context.github, number)
    except NotFound as error:
        said = f"{context.settings.repo} has no issue #{number}: {error}"
        return _unknown(task_id, _verdict("issue_unknown", task_id, said, "check the number"), number)
    except GitHubError as error:
        return _unknown(task_id or f"issue-{number}", _unreachable(context, task_id, error), number)
    if pull:
        said = f"#{number} is a pull request"
        return _unknown(task_id, _verdict("pull_request", f"issue-{number}", said, "name the issue it is for"), number)
    return _explained(context, world, issue)


def _explained(context: Context, world: World, issue: Issue) -> Explanation:
    settings = context.settings
    task = task_of(issue, world.contracts.by_id, settings)
    if issue.number in world.issues:
        world = replace(world, issues={**world.issues, issue.number: issue})
    found = list(predicates(Question(world, settings, context.clock.now(), issue, task)))
    free = all(each.verdict.decision is Decision.allow for each in found)
    allowed = Candidate(issue, task, found[-1].verdict)
    found += _asked_of_github(context, allowed)
    found.append(_claimed(context, task))
    place, ahead = _room(context, world, allowed, free=free)
    found.append(place)
    found += _installation(context)
    used = attempts.counts(context.store, task.task_id)
    limits = settings.retries
    counted = {cause: (used.get(cause, 0), limits.limit(cause)) for cause in ("conflict", "infrastructure", "agent")}
    return Explanation(issue.number, task.task_id, task.title, issue, task, tuple(found), ahead, counted)


def _named(context: Context, reference: str) -> tuple[int | None, str]:
    """(number, task id) as far as the reference says them."""
    text = reference.strip()
    match = REFERENCE.fullmatch(text) or ADDRESS.fullmatch(text)
    if match is not None:
        repo = match["repo"]
        if repo and repo.casefold() != context.settings.repo.casefold():
            raise ConfigurationError(f"{reference}: is not of {context.settings.repo}, which this agentd works for")
        return int(match["number"]), ""
    if TASK_ID.fullmatch(text):
        number = int(text.removeprefix("issue-")) if text.startswith("issue-") else None
        return number, text
    raise ConfigurationError(f"{reference!r} names no issue; expected 7, #7, owner/repo#7, an address or a task's id")


def _number_of(world: World, task_id: str) -> int | None:
    here = world.issue_of(task_id)
    run = world.latest.get(task_id)
    return here.number if here else run.issue_number if run else None


def _no_issue(world: World, task_id: str) -> Verdict:
    if task_id in world.contracts.by_id:
        said = f"{task_id} has a contract, and no open issue with the label agent-ready is called [{task_id}]"
        return _verdict("no_issue", task_id, said, "agentd tasks sync")
    said = f"{task_id} has neither a contract, nor an issue, nor a run here"
    return _verdict("issue_unknown", task_id, said, "check the id; `agentd tasks list` has the contracts")


def _issue(github: GitHub, number: int) -> tuple[Issue, bool]:
    data = github.request("GET", f"{github.base}/issues/{number}").data
    return issue_of(data), data.get("pull_request") is not None


def _unreachable(context: Context, scope: str, error: GitHubError) -> Verdict:
    rule = f"rate_limit_{error.kind}" if isinstance(error, RateLimited) else "github_unavailable"
    action = "look at the network, and at `agentd doctor`"
    return _verdict(rule, scope, str(error), action, getattr(error, "retry_at", None))


def _unknown(task_id: str, verdict: Verdict, number: int | None = None) -> Explanation:
    return Explanation(number, task_id, "", None, None, (Predicate("the issue is there", verdict),))


def _asked_of_github(context: Context, candidate: Candidate) -> Iterator[Predicate]:
    name = "whoever labelled it may, it was not edited since, and no issue blocks it"
    try:
        verdict = ask(context, {}, candidate, keep=False)
    except GitHubError as error:
        verdict = _unreachable(context, candidate.task.task_id, error)
    yield Predicate(name, verdict)


def _claimed(context: Context, task: Task) -> Predicate:
    """The store's claim, and the remote's: another installation's counts as long as its own clock says."""
    name = "nobody else has its claim"
    run_id, left = claims.run_of(context.store, task.task_id)
    if left > 0:
        return Predicate(name, _allow(task.task_id, f"run {run_id} of this installation has it for {left:.0f} s"))
    if not context.settings.claim.remote:
        return Predicate(name, _allow(task.task_id, "not asked: claim.remote = false"))
    try:
        claim = remote_claim(context.github, task.task_id)
    except GitHubError as error:
        return Predicate(name, _unreachable(context, task.task_id, error))
    if claim is None:
        return Predicate(name, _allow(task.task_id, "nobody has it"))
    if claim.installation == context.store.installation_id():
        return Predicate(name, _allow(task.task_id, "left behind by this installation, which takes it again"))
    if claim.until <= context.clock.now():
        return Predicate(name, _allow(task.task_id, f"{claim.holder} had it; its lease is over by its own clock"))
    said = f"{claim.holder} has it, until {claim.until:%Y-%m-%d %H:%M:%S} UTC unless it renews it"
    action = "nothing to do: it finishes, or its lease runs out"
    return Predicate(name, _verdict("claim_elsewhere", task.task_id, said, action, claim.until))


def _room(context: Context, world: World, mine: Candidate, *, free: bool) -> tuple[Predicate, tuple[str, ...]]:
    """Whether a host has a place for it; when it is `free` to start, after those that go first have theirs."""
    name = "there is a place for it"
    rooms = Rooms.of(context.store, world.active, context.settings.max_parallel, _lives(context))
    ahead: list[str] = []
    asked = 0
    for candidate in plan(world, context.settings, context.clock.now()) if free else ():
        if candidate.issue.number == mine.issue.number or rooms.slots <= 0:
            break
        if candidate.verdict.decision is not Decision.allow or room(context, candidate, rooms, rehearsed=True):
            continue
        if asked < MOST_ASKED:
            asked += 1
            try:
                if ask(context, {}, candidate, keep=False).decision is not Decision.allow:
                    continue
            except GitHubError:
                continue
        rooms.admit()
        ahead.append(candidate.task.task_id)
    try:
        said = room(context, mine, rooms, rehearsed=True)
    except ConfigurationError as error:
        return Predicate(name, _allow(mine.task.task_id, f"not known: {error}")), ()
    first = f"; first {', '.join(ahead)}" if ahead else ""
    if said is None:
        said = _allow(mine.task.task_id, f"{rooms.slots} of {context.settings.max_parallel} places are free{first}")
    else:
        said = said.model_copy(update={"observed": f"{said.observed}{first}"})
    return Predicate(name, said), tuple(ahead)


def _lives(context: Context) -> Callable[[Executor], bool]:
    """A supervisor that is alone on its store reports only at its ticks; its process tells more."""
    here = running(context.settings.state_dir)
    return lambda executor: is_alive(executor) or (here is not None and here.is_executor(executor.executor))


def _installation(context: Context) -> Iterator[Predicate]:
    """What stops every task: GitHub's limits, and that nobody is there to start one."""
    hold = holds.holds(context.store).get(GITHUB)
    if hold is not None and hold.retry_at is not None and hold.retry_at > context.clock.now():
        yield Predicate("GitHub may be asked", hold)
    else:
        yield Predicate("GitHub may be asked", _allow(GITHUB, "it answers"))
    here, lives = running(context.settings.state_dir), _lives(context)
    others = [
        found.place
        for found in executors.all_executors(context.store)
        if found.leads and lives(found) and not (here is not None and here.is_executor(found.executor))
    ]
    name = "a supervisor runs"
    if here is not None and here.drains and not others:
        yield Predicate(name, _verdict("draining", "supervisor", str(here), "agentd stop && agentd start"))
    elif here is not None or others:
        said = f"at {others[0]}" if here is None or here.drains else str(here)
        yield Predicate(name, _allow("supervisor", said))
    else:
        yield Predicate(name, _verdict("no_supervisor", "supervisor", "no supervisor runs", "agentd start"))


def _allow(scope: str, observed: str) -> Verdict:
    return Verdict(control="admission", rule_id="admission", decision=Decision.allow, scope=scope, observed=observed)


def _verdict(rule_id: str, scope: str, observed: str, action: str, retry_at: datetime | None = None) -> Verdict:
    return Verdict(
        control="admission",
        rule_id=rule_id,
        decision=Decision.hold,
        scope=scope,
        observed=observed,
        action=action,
        retry_at=retry_at,
    )
