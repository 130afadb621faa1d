"""May this issue be worked on: who labelled it, with which rights, and was it edited afterwards.

`judge_trust` decides, and is pure; the other functions fetch what it needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from agentd.errors import GitHubError, NotFound, Unavailable
from agentd.github import identity
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.comments import MARKER_PREFIX, issue_comments
from agentd.github.conditional import pages
from agentd.model import Comment, Decision, Verdict, canonical_json

Permission = Literal["none", "read", "triage", "write", "maintain", "admin"]

ORDER: tuple[Permission, ...] = ("none", "read", "triage", "write", "maintain", "admin")

MEMBERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""Author associations whose comments may count at all."""

PERMISSION_AGE = timedelta(minutes=10)

_EDITED = """query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { issue(number: $number) { lastEditedAt } }
}"""

_PASSING = ("rate limit", "something went wrong")
"""What GraphQL says of trouble that is none of the query's."""


@dataclass(frozen=True)
class LabelEvent:
    """The event that put a label on an issue."""

    event_id: int
    login: str
    actor_id: int
    actor_type: str
    """User, Bot, Organization"""
    created_at: datetime


def last_labeler(gh: GitHub, issue_number: int, label: str) -> LabelEvent | None:
    """Who set the label last; None when no event tells, the account is gone, or it was removed since."""
    last: dict[str, Any] | None = None
    for event in _events(gh, issue_number):
        with expecting(f"events of issue {issue_number}"):
            if event["event"] not in ("labeled", "unlabeled") or event["label"]["name"].casefold() != label.casefold():
                continue
            if last is None or (event["created_at"], event["id"]) > (last["created_at"], last["id"]):
                last = event
    if last is None or last["event"] == "unlabeled" or not last.get("actor"):
        return None
    with expecting(f"events of issue {issue_number}"):
        actor = last["actor"]
        return LabelEvent(int(last["id"]), actor["login"], int(actor["id"]), actor["type"], _moment(last["created_at"]))


def permission(gh: GitHub, login: str, user_id: int) -> Permission:
    """What the account may do in the repository; asked again after ten minutes. Raises GitHubError.

    `role_name` tells triage and maintain apart, which `permission` does not; a role of the organisation's own making
    counts as the `permission` it is built on. "none" when the login now belongs to another account.
    """
    key = ("permission", login.casefold(), user_id)
    known: tuple[datetime, Permission] | None = gh.memory.get(key)
    now = gh.clock()
    if known is not None and now - known[0] < PERMISSION_AGE:
        return known[1]
    level = _ask_permission(gh, login, user_id)
    gh.memory[key] = (now, level)
    return level


def last_edited_at(gh: GitHub, issue_number: int) -> datetime | None:
    """When the text or the title was last changed; None when never. Raises GitHubError when it cannot be told.

    Only GraphQL knows the edit of a text, only the events know that of a title. GraphQL has a quota of its own, and
    says with status 200 that it is used up: that is Unavailable, as REST goes on.
    """
    owner, name = gh.repo.split("/")
    variables = {"owner": owner, "name": name, "number": issue_number}
    answer = gh.request("POST", gh.requester.graphql_url, body={"query": _EDITED, "variables": variables})
    with expecting(f"lastEditedAt of issue {issue_number}"):
        if said := str(answer.data.get("errors") or answer.data.get("message") or "")[:200]:
            if any(words in said.lower() for words in _PASSING):
                raise Unavailable(f"lastEditedAt of issue {issue_number}: {said}", answer.status)
            raise ValueError(said)
        edited = answer.data["data"]["repository"]["issue"]["lastEditedAt"]
        moments = [_moment(edited)] if edited else []
        moments += [_moment(e["created_at"]) for e in _events(gh, issue_number) if e["event"] == "renamed"]
    return max(moments, default=None)


def trusted_comments(
    gh: GitHub, issue_number: int, minimum: Permission = "triage", trusted_bots: Collection[int] = ()
) -> list[Comment]:
    """The comments that may reach a prompt: of members with at least this permission, or of trusted bots.

    Our own sticky comments are left out. Raises GitHubError.
    """
    me = identity.whoami(gh)
    trusted = []
    for comment in issue_comments(gh, issue_number):
        ours = me.wrote({"id": comment.author_id, "type": comment.author_type})
        if ours and comment.body.startswith(MARKER_PREFIX):
            continue
        if comment.author_type == "Bot":
            accepted = comment.author_id in trusted_bots
        else:
            accepted = comment.author_association in MEMBERS and at_least(
                permission(gh, comment.author, comment.author_id), minimum
            )
        if accepted:
            trusted.append(comment)
    return trusted


def content_hash(title: str, body: str, comments: Iterable[Comment]) -> str:
    """sha256, hex, of what an approval covers. Line ends do not count."""
    said = [[comment.id, comment.author_id, _lines(comment.body)] for comment in comments]
    return hashlib.sha256(
        canonical_json([_lines(title), _lines(body), said]).encode("utf-8", "surrogatepass")
    ).hexdigest()


def at_least(level: Permission, minimum: Permission) -> bool:
    """none < read < triage < write < maintain < admin."""
    return ORDER.index(level) >= ORDER.index(minimum)


def judge_trust(
    scope: str,
    labeler: LabelEvent | None,
    level: Permission | None,
    *,
    minimum: Permission = "triage",
    trusted_bots: Collection[int] = (),
    edited_at: datetime | None = None,
    edits_known: bool = True,
) -> Verdict:
    """Allow, or hold until a person sets the label (again).

    `level` is the labeler's permission, None when it could not be asked; `edits_known` is False when `edited_at`
    could not be asked. What is unknown holds. An edit in the second of the label holds too: the order is unknown.
    """
    if labeler is None:
        return _hold("labeler_unknown", scope, "no event tells who set the label", "a known account", "set the label")
    who = f"{labeler.login} ({labeler.actor_id})"
    if labeler.actor_type == "Bot" or labeler.login.endswith("[bot]"):
        rule, allowed, observed, limit = "bot_id", labeler.actor_id in trusted_bots, who, "trusted_bots"
    else:
        rule, limit = "labeler_permission", minimum
        allowed, observed = level is not None and at_least(level, minimum), f"{who}: {level or 'unknown'}"
    if not allowed:
        return _hold(rule, scope, observed, limit, f"someone with {minimum} permission must set the label")
    if not edits_known or (edited_at is not None and edited_at >= labeler.created_at):
        observed = f"edited at {edited_at:%Y-%m-%d %H:%M:%S}" if edited_at and edits_known else "edits unknown"
        limit = f"labelled at {labeler.created_at:%Y-%m-%d %H:%M:%S}"
        return _hold(
            "edited_after_approval", scope, observed, limit, "read the issue, remove the label and set it again"
        )
    return Verdict(
        control="trust",
        rule_id=rule,
        decision=Decision.allow,
        scope=scope,
        observed=observed,
        limit=limit,
        evidence=(f"event {labeler.event_id}",),
    )


def _hold(rule_id: str, scope: str, observed: str, limit: str, action: str) -> Verdict:
    return Verdict(
        control="trust",
        rule_id=rule_id,
        decision=Decision.hold,
        scope=scope,
        observed=observed,
        limit=limit,
        action=action,
    )


def _ask_permission(gh: GitHub, login: str, user_id: int) -> Permission:
    try:
        answer = gh.request("GET", f"{gh.base}/collaborators/{quote(login, safe='')}/permission")
    except NotFound:
        return "none"
    with expecting(f"permission of {login}"):
        if answer.data["user"]["id"] != user_id:
            return "none"
        for name in (answer.data.get("role_name"), answer.data["permission"]):
            if name in ORDER:
                return ORDER[ORDER.index(name)]
        raise ValueError(f"unknown permission {answer.data['permission']!r}")


def _events(gh: GitHub, issue_number: int) -> list[dict[str, Any]]:
    """All issue events; pages that did not change are free."""
    found: list[dict[str, Any]] = []
    for page in pages(gh, f"{gh.base}/issues/{issue_number}/events"):
        if not isinstance(page.data, list):
            raise GitHubError(f"events of issue {issue_number}: expected a list")
        found += page.data
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
