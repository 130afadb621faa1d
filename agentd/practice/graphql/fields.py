"""What can be asked of a thing: its fields by their GraphQL names, worked out only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentd.practice.graphql.parse import Field
from agentd.practice.routing import Call
from agentd.practice.shapes.view import stamp, stamp_or_none
from agentd.practice.world import Comment, Issue, Repo, User

Args = dict[str, Any]
Thing = dict[str, Any]
"""Values, things, lists of things, or functions of the arguments that give one of those."""


def project(thing: Any, fields: Sequence[Field]) -> Any:
    """The asked fields of a thing; KeyError for a field that it has not."""
    if isinstance(thing, list):
        return [project(each, fields) for each in thing]
    if thing is None or not fields:
        return thing
    shown = {}
    for field in fields:
        value = thing[field.name]
        shown[field.alias] = project(value(field.args) if callable(value) else value, field.fields)
    return shown


def connection(items: Sequence[Any], render: Callable[[Any], Thing]) -> Callable[[Args], Thing]:
    """A connection with first and after; the cursor is the position."""

    def page(args: Args) -> Thing:
        start = int(args.get("after") or 0)
        end = start + int(args.get("first") or 100)
        nodes = [render(item) for item in items[start:end]]
        info = {"hasNextPage": end < len(items), "endCursor": str(min(end, len(items))), "hasPreviousPage": start > 0}
        return {"totalCount": len(items), "nodes": nodes, "pageInfo": info, "edges": [{"node": node} for node in nodes]}

    return page


def actor(call: Call, user: User | None) -> Thing | None:
    if user is None:
        return None
    bot = user.type == "Bot"
    kind = {"__typename": "Bot" if bot else "User", "id": f"U_{user.id}", "databaseId": user.id, "name": user.name}
    return kind | {"login": user.login, "url": call.view.html(f"/{user.login}"), "avatarUrl": ""}


def comment(call: Call, issue: Issue, of: Comment) -> Thing:
    return {
        "__typename": "IssueComment",
        "id": f"IC_{of.id}",
        "databaseId": of.id,
        "body": of.body,
        "author": actor(call, of.user),
        "createdAt": stamp(of.created_at),
        "updatedAt": stamp(of.updated_at),
        "lastEditedAt": stamp_or_none(of.edited_at),
        "url": call.view.html(f"/{issue.repo.full_name}/issues/{issue.number}#issuecomment-{of.id}"),
    }


def issue(call: Call, of: Issue) -> Thing:
    """An issue, or a pull request with its own fields too."""
    last = of.edits[-1] if of.edits else None
    edits = [{"editedAt": stamp(at), "editor": actor(call, by), "diff": text} for at, by, text in reversed(of.edits)]
    shown: Thing = {
        "__typename": "PullRequest" if of.pull else "Issue",
        "id": f"{'PR' if of.pull else 'I'}_{of.id}",
        "databaseId": of.id,
        "number": of.number,
        "title": of.title,
        "body": of.body or "",
        "state": "MERGED" if of.pull and of.pull.merged_at else of.state.upper(),
        "stateReason": of.state_reason and of.state_reason.upper(),
        "url": call.view.html(f"/{of.repo.full_name}/{'pull' if of.pull else 'issues'}/{of.number}"),
        "author": actor(call, of.user),
        "editor": actor(call, last[1]) if last else None,
        "lastEditedAt": stamp(last[0]) if last else None,
        "includesCreatedEdit": bool(last),
        "userContentEdits": connection(edits, lambda edit: edit),
        "createdAt": stamp(of.created_at),
        "updatedAt": stamp(of.updated_at),
        "closed": of.state == "closed",
        "closedAt": stamp_or_none(of.closed_at),
        "locked": of.locked,
        "labels": connection(
            of.labels, lambda label: {"name": label.name, "color": label.color, "id": f"LA_{label.id}"}
        ),
        "assignees": connection(of.assignees, lambda user: actor(call, user) or {}),
        "comments": connection(of.comments, lambda each: comment(call, of, each)),
        "repository": lambda args: repository(call, of.repo),
    }
    return shown | (pull(call, of) if of.pull else {})


def pull(call: Call, of: Issue) -> Thing:
    assert of.pull is not None
    return {
        "isDraft": of.pull.draft,
        "merged": of.pull.merged_at is not None,
        "mergedAt": stamp_or_none(of.pull.merged_at),
        "mergedBy": actor(call, of.pull.merged_by),
        "headRefName": of.pull.head_ref,
        "headRefOid": of.pull.head_sha,
        "baseRefName": of.pull.base_ref,
        "baseRefOid": of.pull.base_sha,
    }


def repository(call: Call, of: Repo) -> Thing:
    def numbered(args: Args, kinds: tuple[bool, ...]) -> Thing | None:
        found = of.issues.get(args["number"])
        return issue(call, found) if found and not found.deleted and (found.pull is not None) in kinds else None

    everything = of.visible_issues()
    return {
        "__typename": "Repository",
        "id": f"R_{of.id}",
        "databaseId": of.id,
        "name": of.name,
        "nameWithOwner": of.full_name,
        "isPrivate": of.private,
        "url": call.view.html(f"/{of.full_name}"),
        "owner": actor(call, of.owner),
        "defaultBranchRef": {"name": of.default_branch, "target": {"oid": of.git.branch(of.default_branch)}},
        "viewerPermission": call.world.role(of, call.user).upper(),
        "issue": lambda args: numbered(args, (False,)),
        "pullRequest": lambda args: numbered(args, (True,)),
        "issueOrPullRequest": lambda args: numbered(args, (True, False)),
        "issues": connection([each for each in everything if not each.pull], lambda each: issue(call, each)),
        "pullRequests": connection([each for each in everything if each.pull], lambda each: issue(call, each)),
    }
