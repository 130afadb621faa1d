"""The plan: for every labelled issue, start now or the first reason why not. Pure; the trust decision comes later.

The rules stand in their order in RULES, at the end; the first that objects decides. `agentd why` asks all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.github.labels import READY
from agentd.model import Decision, Issue, Task, Verdict
from agentd.run.desk import hold_scope
from agentd.run.layout import untrusted
from agentd.states import ACTIVE, BLOCKED_ENDS
from agentd.store.holds import PAUSE, pause_scope, profile_scope
from agentd.supervisor.tasks import TITLE_ID, order_of, profile_name, status_label, task_of
from agentd.supervisor.world import World


@dataclass(frozen=True)
class Candidate:
    """One issue with what the rules say of it."""

    issue: Issue
    task: Task
    verdict: Verdict


@dataclass(frozen=True)
class Question:
    """What a rule is asked."""

    world: World
    settings: Settings
    now: datetime
    issue: Issue
    task: Task


Objection = tuple[str, str, str]
"""rule id, what was observed, what to do"""


def row_of(candidate: Candidate) -> dict[str, Any]:
    """A candidate for who watches."""
    task, verdict = candidate.task, candidate.verdict
    return {
        "task_id": task.task_id,
        "issue_number": candidate.issue.number,
        "title": task.title,
        "url": candidate.issue.html_url,
        "priority": task.priority,
        "dependencies": list(task.dependencies),
        "decision": str(verdict.decision),
        "rule_id": verdict.rule_id,
        "reason": verdict.observed,
        "action": verdict.action,
        "retry_at": verdict.retry_at.isoformat() if verdict.retry_at else None,
    }


@dataclass(frozen=True)
class Rule:
    """One question, which is answered by an objection, or in words when there is none."""

    name: str
    """what it asks, for people"""
    ask: Callable[[Question], Objection | str]


@dataclass(frozen=True)
class Predicate:
    """A rule with what it says now."""

    name: str
    verdict: Verdict


def plan(world: World, settings: Settings, now: datetime) -> list[Candidate]:
    """Every labelled issue in the order of dispatch, with allow or the first hold."""
    candidates = []
    for issue in world.issues.values():
        task = task_of(issue, world.contracts.by_id, settings)
        verdict = judge(Question(world, settings, now, issue, task))
        candidates.append(Candidate(issue, task, verdict))
    return sorted(candidates, key=lambda candidate: order_of(candidate.task))


def judge(question: Question) -> Verdict:
    """Allow, or the first rule's hold."""
    found = (predicate.verdict for predicate in predicates(question))
    objection = next((verdict for verdict in found if verdict.decision is not Decision.allow), None)
    return objection or _verdict(question, Decision.allow, "admission", "", "start", None)


def predicates(question: Question) -> Iterator[Predicate]:
    """Every rule with its answer, in order; nothing is asked that nobody takes."""
    for rule in RULES:
        said = rule.ask(question)
        if isinstance(said, str):
            yield Predicate(rule.name, _verdict(question, Decision.allow, "admission", said, "", None))
            continue
        rule_id, observed, action = said
        scopes = (question.task.task_id, _profile_scope(question), PAUSE, "*")
        found = (question.world.holds.get(scope) for scope in scopes)
        retry_at = next((hold.retry_at for hold in found if hold and hold.rule_id == rule_id), None)
        yield Predicate(rule.name, _verdict(question, Decision.hold, rule_id, observed, action, retry_at))


def _verdict(
    question: Question, decision: Decision, rule_id: str, observed: str, action: str, retry_at: datetime | None
) -> Verdict:
    return Verdict(
        control="admission",
        rule_id=rule_id,
        decision=decision,
        scope=question.task.task_id,
        observed=observed,
        action=action,
        retry_at=retry_at,
    )


def _profile_scope(question: Question) -> str:
    return profile_scope(profile_name(question.issue, question.settings))


def _open(question: Question) -> Objection | str:
    issue = question.issue
    if issue.state == "closed":
        how = f" as {issue.state_reason.replace('_', ' ')}" if issue.state_reason else ""
        return "closed", f"the issue is closed{how}", "open it again if it is not done"
    return "open"


def _ready(question: Question) -> Objection | str:
    if READY.casefold() not in {label.casefold() for label in question.issue.labels}:
        return "not_ready", f"it has no label {READY}", f"set {READY} and status:todo"
    return READY


def _not_twice(question: Question) -> Objection | str:
    run = question.world.latest.get(question.task.task_id)
    if run is not None and run.state in ACTIVE:
        hold = question.world.holds.get(hold_scope(run.run_id))
        waits, action = (f", and waits: {hold.observed}", hold.action) if hold else ("", "")
        return "running", f"run {run.run_id} is {run.state}{waits}", action or "nothing to do"
    first = question.world.issue_of(question.task.task_id)
    if first is not None and first.number != question.issue.number:
        return "same_task", f"issue #{first.number} has the same task id", "close one of them or change its title"
    return f"its last run {run.run_id} is {run.state}" if run is not None else "it was never run here"


def _wanted(question: Question) -> Objection | str:
    label = status_label(question.issue.labels)
    if label == "status:todo":
        return label
    if label == "status:in-review":
        run = question.world.latest.get(question.task.task_id)
        pull = f" ({run.pr_url})" if run is not None and run.pr_url else ""
        return "in_review", f"its pull request is open{pull}", "review it"
    if label == "status:in-progress":
        return "in_progress", "worked on, but not by this installation", "nothing to do"
    if label == "status:blocked":
        action = "mend the cause, then replace status:blocked by status:todo"
        return "blocked", f"status:blocked{_how_it_ended(question)}", action
    return "no_status", "it has no status label", "set status:todo"


def _how_it_ended(question: Question) -> str:
    run = question.world.latest.get(question.task.task_id)
    if run is None or run.state not in BLOCKED_ENDS:
        return ", set by a person or by another installation"
    return f": its last run {run.run_id} ended {run.state}{f': {run.reason}' if run.reason else ''}"


def _everything_held(question: Question) -> Objection | str:
    mine = pause_scope(profile_name(question.issue, question.settings))
    hold = next((found for scope in (PAUSE, "*", mine) if (found := question.world.holds.get(scope))), None)
    return (hold.rule_id, hold.observed, hold.action) if hold else "nothing is paused"


def _contract(question: Question) -> Objection | str:
    if question.task.contract is not None:
        return f"contract {question.task.task_id}"
    claimed = TITLE_ID.search(question.issue.title)
    if claimed is None:
        if not question.task.verify_command:
            return "no_verify_command", "it has no contract, and no verify command is set", "set verify_command"
        return f"no contract; verified by `{question.task.verify_command}`"
    file = f"tasks/{claimed.group(1)}.json"
    broken = [
        problem for problem in question.world.contracts.problems if problem.startswith(f"{claimed.group(1)}.json")
    ]
    if broken:
        return "contract_invalid", broken[0], "agentd tasks validate"
    return "contract_missing", f"its title names {claimed.group(1)}, but there is no {file}", f"add {file}"


def _profile(question: Question) -> Objection | str:
    try:
        profile = question.settings.profile_named(profile_name(question.issue, question.settings))
    except ConfigurationError as error:
        return "profile_unknown", str(error), "define the profile, or change the label profile:<name>"
    asked, sandbox = question.settings.layout, question.settings.sandbox
    if asked == "worktree" and sandbox == "required" and not profile.trusted:
        action = f"set trusted = true in [profiles.{profile.name}] if you trust it so far, or another layout"
        return "profile_untrusted", untrusted(profile), action
    return profile.address


def _model_quota(question: Question) -> Objection | str:
    hold = question.world.holds.get(_profile_scope(question))
    if hold is not None and hold.retry_at is not None and hold.retry_at > question.now:
        return hold.rule_id, hold.observed, hold.action
    return "nothing of its profile is used up"


def _dependencies(question: Question) -> Objection | str:
    missing = [needed for needed in question.task.dependencies if needed not in question.world.done]
    if missing:
        return "dependencies", f"waits for {', '.join(missing)}", "nothing to do: it starts when they are merged"
    return f"{', '.join(question.task.dependencies)} done" if question.task.dependencies else "none"


def _backoff(question: Question) -> Objection | str:
    hold = question.world.holds.get(question.task.task_id)
    if hold is not None and hold.retry_at is not None and hold.retry_at > question.now:
        return hold.rule_id, hold.observed, hold.action or "nothing to do"
    return "it waits for no time"


RULES = (
    Rule("the issue is open", _open),
    Rule("it is meant for agents", _ready),
    Rule("no run of it is under way", _not_twice),
    Rule("its status label says so", _wanted),
    Rule("nothing is paused", _everything_held),
    Rule("its contract can be used", _contract),
    Rule("its profile can be used", _profile),
    Rule("its model has quota", _model_quota),
    Rule("the tasks of its contract that it needs are done", _dependencies),
    Rule("its waiting time is over", _backoff),
)
