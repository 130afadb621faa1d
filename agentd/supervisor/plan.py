"""The plan: for every labelled issue, start now or the first reason why not. Pure; the trust decision comes later.

The rules stand in their order in RULES, at the end; the first that objects decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.model import Decision, Issue, Task, Verdict
from agentd.run.layout import untrusted
from agentd.states import ACTIVE
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
    for rule in RULES:
        objection = rule(question)
        if objection is not None:
            rule_id, observed, action = objection
            scopes = (question.task.task_id, _profile_scope(question), PAUSE, "*")
            found = (question.world.holds.get(scope) for scope in scopes)
            retry_at = next((hold.retry_at for hold in found if hold and hold.rule_id == rule_id), None)
            return _verdict(question, Decision.hold, rule_id, observed, action, retry_at)
    return _verdict(question, Decision.allow, "admission", "", "start", None)


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


def _not_twice(question: Question) -> Objection | None:
    run = question.world.latest.get(question.task.task_id)
    if run is not None and run.state in ACTIVE:
        return "running", f"run {run.run_id} is {run.state}", "nothing to do"
    first = question.world.issue_of(question.task.task_id)
    if first is not None and first.number != question.issue.number:
        return "same_task", f"issue #{first.number} has the same task id", "close one of them or change its title"
    return None


def _wanted(question: Question) -> Objection | None:
    label = status_label(question.issue.labels)
    if label == "status:todo":
        return None
    if label == "status:in-review":
        return "in_review", "its pull request is open", "review it"
    if label == "status:in-progress":
        return "in_progress", "worked on, but not by this installation", "nothing to do"
    if label == "status:blocked":
        return "blocked", "status:blocked", "mend the cause, then replace status:blocked by status:todo"
    return "no_status", "it has no status label", "set status:todo"


def _everything_held(question: Question) -> Objection | None:
    mine = pause_scope(profile_name(question.issue, question.settings))
    hold = next((found for scope in (PAUSE, "*", mine) if (found := question.world.holds.get(scope))), None)
    return (hold.rule_id, hold.observed, hold.action) if hold else None


def _contract(question: Question) -> Objection | None:
    if question.task.contract is not None:
        return None
    claimed = TITLE_ID.search(question.issue.title)
    if claimed is None:
        if not question.task.verify_command:
            return "no_verify_command", "it has no contract, and no verify command is set", "set verify_command"
        return None
    file = f"tasks/{claimed.group(1)}.json"
    broken = [
        problem for problem in question.world.contracts.problems if problem.startswith(f"{claimed.group(1)}.json")
    ]
    if broken:
        return "contract_invalid", broken[0], "agentd tasks validate"
    return "contract_missing", f"its title names {claimed.group(1)}, but there is no {file}", f"add {file}"


def _profile(question: Question) -> Objection | None:
    try:
        profile = question.settings.profile_named(profile_name(question.issue, question.settings))
    except ConfigurationError as error:
        return "profile_unknown", str(error), "define the profile, or change the label profile:<name>"
    asked, sandbox = question.settings.layout, question.settings.sandbox
    if asked == "worktree" and sandbox == "required" and not profile.trusted:
        action = f"set trusted = true in [profiles.{profile.name}] if you trust it so far, or another layout"
        return "profile_untrusted", untrusted(profile), action
    return None


def _model_quota(question: Question) -> Objection | None:
    hold = question.world.holds.get(_profile_scope(question))
    if hold is not None and hold.retry_at is not None and hold.retry_at > question.now:
        return hold.rule_id, hold.observed, hold.action
    return None


def _dependencies(question: Question) -> Objection | None:
    missing = [needed for needed in question.task.dependencies if needed not in question.world.done]
    if missing:
        return "dependencies", f"waits for {', '.join(missing)}", "nothing to do: it starts when they are merged"
    return None


def _backoff(question: Question) -> Objection | None:
    hold = question.world.holds.get(question.task.task_id)
    if hold is not None and hold.retry_at is not None and hold.retry_at > question.now:
        return hold.rule_id, hold.observed, hold.action or "nothing to do"
    return None


RULES: tuple[Callable[[Question], Objection | None], ...] = (
    _not_twice,
    _wanted,
    _everything_held,
    _contract,
    _profile,
    _model_quota,
    _dependencies,
    _backoff,
)
