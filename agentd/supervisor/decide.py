"""What is asked of a task that the plan lets through: is there room, and does GitHub say yes."""

from __future__ import annotations

from datetime import datetime

from agentd.errors import NotFound
from agentd.model import Decision, Profile, Verdict
from agentd.run.context import Context
from agentd.supervisor.admission import Admission, admit, blocked_by
from agentd.supervisor.plan import Candidate
from agentd.supervisor.rooms import Rooms
from agentd.supervisor.tasks import profile_name


def room(context: Context, candidate: Candidate, rooms: Rooms, *, rehearsed: bool = False) -> Verdict | None:
    """The hold of a task that nobody could carry now, or None. Before the first start no host has told what it has."""
    limit = context.settings.max_parallel
    if rehearsed and not rooms.hosts and rooms.slots > 0:
        return None
    said = rooms.objection(profile_of(context, candidate), limit)
    if said is None:
        return None
    rule_id, observed, action = said
    changed = {"decision": Decision.hold, "observed": observed, "action": action, "limit": str(limit)}
    return candidate.verdict.model_copy(update={**changed, "rule_id": rule_id})


def profile_of(context: Context, candidate: Candidate) -> Profile:
    """The profile that would work on it. Raises ConfigurationError."""
    return context.settings.profile_named(profile_name(candidate.issue, context.settings))


def ask(
    context: Context, known: dict[int, tuple[datetime, Admission]], candidate: Candidate, *, keep: bool = True
) -> Verdict:
    """The verdict of the rules that need more of GitHub than the list of issues; see admission.admit for `keep`."""
    gh, issue, task = context.github, candidate.issue, candidate.task
    try:
        if (blocked := blocked_by(gh, issue, task.task_id)) is not None:
            return blocked
        return admit(gh, context.store, issue, task.task_id, context.settings.trust, known, keep=keep).verdict
    except NotFound as error:
        return gone(candidate, error)


def gone(candidate: Candidate, error: NotFound) -> Verdict:
    """The list of issues shows one that was deleted until it is read in full again."""
    observed = {"decision": Decision.hold, "rule_id": "issue_gone", "observed": str(error), "action": ""}
    return candidate.verdict.model_copy(update=observed)
