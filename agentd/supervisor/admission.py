"""May this issue be worked on: the trust decision, bound to the text that was approved.

What GitHub says of an issue is asked only for issues that could start now, and again only when the issue changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agentd.config_tables import Trust
from agentd.errors import GitHubError, RateLimited, Unauthorized, Unavailable
from agentd.github import trust
from agentd.github.client import GitHub
from agentd.github.issues import blockers
from agentd.github.labels import READY
from agentd.model import Comment, Decision, Issue, Verdict
from agentd.store.approvals import Approval, get_approval, save_approval
from agentd.store.connection import Store


@dataclass(frozen=True)
class Admission:
    """The verdict, and the comments that it covers."""

    verdict: Verdict
    comments: tuple[Comment, ...] = ()


def admit(
    gh: GitHub,
    store: Store,
    issue: Issue,
    task_id: str,
    settings: Trust,
    known: dict[int, tuple[datetime, Admission]],
    *,
    keep: bool = True,
) -> Admission:
    """Allow or hold. `known` remembers answers of this process by issue, as long as the issue does not change.

    Without `keep` an approval that is new is not noted: for who only looks.

    Raises RateLimited, Unauthorized, Unavailable: those say nothing about the issue.
    """
    remembered = known.get(issue.number)
    if remembered is not None and remembered[0] == issue.updated_at:
        return remembered[1]
    try:
        admission = _judge(gh, store, issue, task_id, settings, keep)
    except (RateLimited, Unauthorized, Unavailable):
        raise
    except GitHubError as error:
        action = "give the token the right to read issue events and collaborators"
        return Admission(_hold("trust_unknown", task_id, str(error), action))
    known[issue.number] = (issue.updated_at, admission)
    return admission


def blocked_by(gh: GitHub, issue: Issue, task_id: str) -> Verdict | None:
    """A hold while an issue that GitHub names as a blocker is not done."""
    waiting = [f"#{other.number}" for other in blockers(gh, issue.number) if not other.is_done]
    if not waiting:
        return None
    action = "nothing to do: it starts when they are closed as completed"
    return Verdict(
        control="admission",
        rule_id="dependencies",
        decision=Decision.hold,
        scope=task_id,
        observed=f"blocked by {', '.join(waiting)}",
        action=action,
    )


def _judge(gh: GitHub, store: Store, issue: Issue, task_id: str, settings: Trust, keep: bool) -> Admission:
    labeler = trust.last_labeler(gh, issue.number, READY)
    level = trust.permission(gh, labeler.login, labeler.actor_id) if labeler else None
    approval = get_approval(store, issue.number)
    fresh = labeler is not None and (approval is None or approval.event_id != labeler.event_id)
    edited_at, edits_known = _edits(gh, issue, settings) if labeler is not None and fresh else (None, True)
    verdict = trust.judge_trust(
        task_id,
        labeler,
        level,
        minimum=settings.min_permission,
        trusted_bots=settings.trusted_bots,
        edited_at=edited_at,
        edits_known=edits_known,
    )
    if verdict.decision is not Decision.allow or labeler is None:
        return Admission(verdict)
    comments = _covered(gh, issue, settings, labeler.created_at)
    digest = trust.content_hash(issue.title, issue.body, comments)
    if fresh and keep:
        save_approval(store, Approval(issue.number, labeler.event_id, labeler.login, labeler.actor_id, digest))
    elif not fresh and approval is not None and approval.content_hash != digest:
        observed = "title, text or an accepted comment changed after the label was set"
        action = f"read the issue again, remove the label {READY} and set it again"
        return Admission(_hold("edited_after_approval", task_id, observed, action))
    return Admission(verdict, tuple(comments))


def _edits(gh: GitHub, issue: Issue, settings: Trust) -> tuple[datetime | None, bool]:
    """(last edit, whether that is known). Without GraphQL an author who may label anyway counts as no stranger."""
    try:
        return trust.last_edited_at(gh, issue.number), True
    except (RateLimited, Unauthorized, Unavailable):
        raise
    except GitHubError:
        own = trust.permission(gh, issue.author, issue.author_id)
        return None, trust.at_least(own, settings.min_permission)


def _covered(gh: GitHub, issue: Issue, settings: Trust, approved_at: datetime) -> Sequence[Comment]:
    """Members' comments that stood there, as they stand now, when the label was set."""
    if issue.comments == 0:
        return ()
    comments = trust.trusted_comments(gh, issue.number, settings.min_permission, settings.trusted_bots)
    return [comment for comment in comments if max(comment.created_at, comment.updated_at) <= approved_at]


def _hold(rule_id: str, task_id: str, observed: str, action: str) -> Verdict:
    return Verdict(
        control="trust", rule_id=rule_id, decision=Decision.hold, scope=task_id, observed=observed, action=action
    )
