"""Comments on lines of a pull request."""

from __future__ import annotations

from agentd.practice.refusal import Refused, check_body, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.reviews import review_comment_json
from agentd.practice.world import Issue, Json, ReviewComment


def review_comment_of(call: Call) -> tuple[Issue, ReviewComment]:
    for issue, pull in call.repo.pulls():
        for comment in pull.review_comments:
            if comment.id == call.int("comment_id"):
                return issue, comment
    raise not_found()


def add_review_comment(call: Call, issue: Issue, asked: Json, review_id: int | None = None) -> ReviewComment:
    """A comment from its fields in a request."""
    pull, world = issue.pull, call.world
    assert pull is not None
    if not asked.get("body") or not asked.get("path"):
        raise Refused(422, 'Invalid request.\n\n"body" and "path" must be supplied.')
    check_body("PullRequestReviewComment", asked["body"])
    comment = ReviewComment(
        world.next_id(),
        call.actor,
        asked["body"],
        asked["path"],
        asked.get("commit_id") or pull.head_sha,
        world.now(),
        world.now(),
        asked.get("line") or asked.get("position"),
        asked.get("side") or "RIGHT",
        review_id,
        asked.get("in_reply_to"),
    )
    pull.review_comments.append(comment)
    issue.updated_at = world.now()
    return comment


@on_repo("GET", "/pulls/{number}/comments")
async def of_pull(call: Call) -> Reply:
    issue, pull = call.pull()
    since = call.since()
    rows = [comment for comment in pull.review_comments if since is None or comment.updated_at >= since]
    return paged(call, rows, lambda comment: review_comment_json(call.view, issue, comment))


@on_repo("GET", "/pulls/comments")
async def of_repo(call: Call) -> Reply:
    since = call.since()
    rows = [(issue, comment) for issue, pull in call.repo.pulls() for comment in pull.review_comments]
    rows = [row for row in rows if since is None or row[1].updated_at >= since]
    return paged(call, rows, lambda row: review_comment_json(call.view, *row))


@on_repo("POST", "/pulls/{number}/comments")
async def create(call: Call) -> Reply:
    issue, pull = call.pull()
    asked = dict(call.json)
    if asked.get("in_reply_to"):
        first = next((each for each in pull.review_comments if each.id == asked["in_reply_to"]), None)
        if first is None:
            raise not_found()
        asked |= {"path": first.path, "line": first.line, "commit_id": first.commit_id}
    comment = add_review_comment(call, issue, asked)
    return Reply(review_comment_json(call.view, issue, comment), 201)


@on_repo("POST", "/pulls/{number}/comments/{comment_id}/replies")
async def reply(call: Call) -> Reply:
    issue, first = review_comment_of(call)
    place = {"path": first.path, "line": first.line, "commit_id": first.commit_id, "in_reply_to": first.id}
    comment = add_review_comment(call, issue, {"body": call.required("body", str), **place}, first.review_id)
    return Reply(review_comment_json(call.view, issue, comment), 201)


@on_repo("GET", "/pulls/comments/{comment_id}")
async def get(call: Call) -> Reply:
    issue, comment = review_comment_of(call)
    return Reply(review_comment_json(call.view, issue, comment), modified=comment.updated_at)


@on_repo("PATCH", "/pulls/comments/{comment_id}")
async def edit(call: Call) -> Reply:
    issue, comment = review_comment_of(call)
    if comment.user is not call.actor:
        call.demand("write")
    comment.body, comment.updated_at = call.required("body", str), call.world.now()
    return Reply(review_comment_json(call.view, issue, comment))


@on_repo("DELETE", "/pulls/comments/{comment_id}")
async def delete(call: Call) -> Reply:
    issue, comment = review_comment_of(call)
    assert issue.pull is not None
    if comment.user is not call.actor:
        call.demand("write")
    issue.pull.review_comments.remove(comment)
    return Reply(status=204)
