"""Comments on issues and pull requests."""

from __future__ import annotations

from agentd.practice.acts import issues as acts
from agentd.practice.refusal import Refused, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import comment_json
from agentd.practice.world import Comment, Issue

Row = tuple[Issue, Comment]


def comment_of(call: Call) -> Row:
    wanted = call.int("comment_id")
    for issue in call.repo.visible_issues():
        for comment in issue.comments:
            if comment.id == wanted:
                return issue, comment
    raise not_found()


def list_of(call: Call, rows: list[Row]) -> Reply:
    since = call.since()
    kept = [row for row in rows if since is None or row[1].updated_at >= since]
    return paged(call, kept, lambda row: comment_json(call.view, *row))


@on_repo("GET", "/issues/{number}/comments")
async def of_issue(call: Call) -> Reply:
    issue = call.issue()
    return list_of(call, [(issue, comment) for comment in issue.comments])


@on_repo("GET", "/issues/comments")
async def of_repo(call: Call) -> Reply:
    """All comments, by id, or by `sort` and `direction`."""
    rows = [(issue, comment) for issue in call.repo.visible_issues() for comment in issue.comments]
    rows.sort(key=lambda row: row[1].id)
    if (sort := call.query.get("sort")) in ("created", "updated"):
        rows.sort(key=lambda row: row[1].updated_at if sort == "updated" else row[1].created_at)
        if call.query.get("direction") != "asc":
            rows.reverse()
    return list_of(call, rows)


@on_repo("POST", "/issues/{number}/comments")
async def create(call: Call) -> Reply:
    issue = call.issue()
    if issue.locked and not call.allowed("write"):
        raise Refused(403, "Unable to create comment because issue is locked.")
    comment = acts.add_comment(call.world, issue, call.actor, call.required("body", str))
    shown = comment_json(call.view, issue, comment)
    return Reply(shown, 201, {"Location": shown["url"]})


@on_repo("GET", "/issues/comments/{comment_id}")
async def get(call: Call) -> Reply:
    issue, comment = comment_of(call)
    return Reply(comment_json(call.view, issue, comment), modified=comment.updated_at)


def own(call: Call) -> Row:
    """The comment, if the caller wrote it or may write to the repository."""
    issue, comment = comment_of(call)
    if comment.user is not call.actor:
        call.demand("write")
    return issue, comment


@on_repo("PATCH", "/issues/comments/{comment_id}")
async def edit(call: Call) -> Reply:
    issue, comment = own(call)
    acts.edit_comment(call.world, issue, comment, call.actor, call.required("body", str))
    return Reply(comment_json(call.view, issue, comment))


@on_repo("DELETE", "/issues/comments/{comment_id}")
async def delete(call: Call) -> Reply:
    issue, comment = own(call)
    acts.delete_comment(call.world, issue, comment, call.actor)
    return Reply(status=204)
