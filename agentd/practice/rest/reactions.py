"""Reactions to issues, comments and review comments."""

from __future__ import annotations

from agentd.practice.refusal import invalid, no_access, not_found
from agentd.practice.rest.comments import comment_of
from agentd.practice.rest.review_comments import review_comment_of
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import REACTIONS, reaction_json
from agentd.practice.world import Reaction

ISSUE, COMMENT, REVIEW = "/issues/{number}", "/issues/comments/{comment_id}", "/pulls/comments/{comment_id}"


def reactions_of(call: Call) -> list[Reaction]:
    if "comment_id" not in call.args:
        return call.issue().reactions
    return (review_comment_of if "/pulls/" in call.path else comment_of)(call)[1].reactions


@on_repo("GET", ISSUE + "/reactions")
@on_repo("GET", COMMENT + "/reactions")
@on_repo("GET", REVIEW + "/reactions")
async def index(call: Call) -> Reply:
    wanted = call.query.get("content")
    rows = [each for each in reactions_of(call) if wanted in (None, each.content)]
    return paged(call, rows, lambda reaction: reaction_json(call.view, reaction))


@on_repo("POST", ISSUE + "/reactions")
@on_repo("POST", COMMENT + "/reactions")
@on_repo("POST", REVIEW + "/reactions")
async def create(call: Call) -> Reply:
    """201; the same reaction of the same user again is 200 and the old one."""
    reactions, content = reactions_of(call), call.required("content", str)
    if content not in REACTIONS:
        raise invalid("Reaction", "content", value=content)
    for reaction in reactions:
        if reaction.user is call.actor and reaction.content == content:
            return Reply(reaction_json(call.view, reaction))
    reaction = Reaction(call.world.next_id(), call.actor, content, call.world.now())
    reactions.append(reaction)
    return Reply(reaction_json(call.view, reaction), 201)


@on_repo("DELETE", ISSUE + "/reactions/{reaction_id}")
@on_repo("DELETE", COMMENT + "/reactions/{reaction_id}")
@on_repo("DELETE", REVIEW + "/reactions/{reaction_id}")
async def delete(call: Call) -> Reply:
    reactions = reactions_of(call)
    for reaction in reactions:
        if reaction.id == call.int("reaction_id"):
            if reaction.user is not call.actor:
                raise no_access()
            reactions.remove(reaction)
            return Reply(status=204)
    raise not_found()
