"""POST /graphql. GraphQL's own errors are a 200 with `errors`, as on GitHub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentd.practice.acts.issues import close, delete_issue, reopen
from agentd.practice.acts.pulls import set_draft
from agentd.practice.graphql import fields
from agentd.practice.graphql.fields import Args, Thing, project
from agentd.practice.graphql.parse import Parser, Unreadable
from agentd.practice.refusal import Refused
from agentd.practice.routing import Call, Reply
from agentd.practice.shapes.view import stamp
from agentd.practice.world import Issue

Mutation = Callable[[Call, Issue, Args], Thing]


class GraphQLError(Exception):
    """An error in the answer: its type and message."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


async def answer_graphql(call: Call) -> Reply:
    """One operation; needs a token, as on GitHub."""
    if call.method != "POST":
        raise Refused(404, "Not Found")
    if call.token is None:
        raise Refused(401, "This endpoint requires you to be authenticated.")
    if rate_limit(call)["remaining"] == 0:
        message = f"API rate limit already exceeded for user ID {call.token.user.id}."
        return Reply({"errors": [{"type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": message}]})
    try:
        variables = call.json.get("variables") or {}
        document = Parser(str(call.json.get("query") or ""), variables).document()
        root = mutations(call) if document.kind == "mutation" else queries(call)
        data = project(root, document.fields)
    except Unreadable as error:
        return Reply({"errors": [{"message": str(error)}]})
    except KeyError as error:
        message = f"Field '{error.args[0]}' doesn't exist on the practice GitHub"
        return Reply({"errors": [{"message": message, "extensions": {"code": "undefinedField"}}]})
    except GraphQLError as error:
        return Reply({"data": None, "errors": [{"type": error.type, "message": str(error)}]})
    return Reply({"data": data})


def queries(call: Call) -> Thing:
    return {
        "viewer": fields.actor(call, call.user),
        "rateLimit": lambda args: rate_limit(call),
        "repository": lambda args: repository(call, f"{args['owner']}/{args['name']}"),
        "node": lambda args: fields.issue(call, issue_of(call, args["id"])),
    }


def repository(call: Call, full_name: str) -> Thing:
    try:
        repo = call.world.repo(full_name)
    except KeyError:
        repo = None
    if repo is None or not call.world.allows(repo, call.user, "read"):
        raise GraphQLError("NOT_FOUND", f"Could not resolve to a Repository with the name '{full_name}'.")
    return fields.repository(call, repo)


def rate_limit(call: Call) -> Thing:
    assert call.user is not None
    bucket = call.world.limits.bucket(call.user.login, "graphql", call.world.now())
    shown = {"limit": bucket.limit, "remaining": bucket.remaining, "used": bucket.used, "cost": 1, "nodeCount": 0}
    return shown | {"resetAt": stamp(bucket.reset)}


def issue_of(call: Call, node_id: str) -> Issue:
    """The issue or pull request of a node id that the caller may see."""
    for repo in call.world.repos.values():
        for issue in repo.visible_issues():
            if node_id == f"{'PR' if issue.pull else 'I'}_{issue.id}" and call.world.allows(repo, call.user, "read"):
                return issue
    raise GraphQLError("NOT_FOUND", f"Could not resolve to a node with the global id of '{node_id}'")


def mutations(call: Call) -> Thing:
    return {name: bound(call, *entry) for name, entry in MUTATIONS.items()}


def bound(call: Call, key: str, work: Mutation, need: str) -> Callable[[Args], Thing]:
    """A mutation that looks up its issue and checks the role before it works."""

    def run(args: Args) -> Thing:
        given: dict[str, Any] = args["input"]
        issue = issue_of(call, given[key])
        readable = call.token is not None and not call.token.read_only
        may = call.world.allows(issue.repo, call.user, need) or (need == "write" and issue.user is call.user)
        if not (readable and may):
            raise GraphQLError("FORBIDDEN", "Resource not accessible by personal access token")
        return work(call, issue, given) | {"clientMutationId": given.get("clientMutationId")}

    return run


def draft_to(draft: bool) -> Mutation:
    def work(call: Call, issue: Issue, given: Args) -> Thing:
        if issue.pull is None or issue.state != "open":
            raise GraphQLError("UNPROCESSABLE", "Pull request is not open")
        set_draft(call.world, issue, call.actor, draft)
        return {"pullRequest": fields.issue(call, issue)}

    return work


def closing(call: Call, issue: Issue, given: Args) -> Thing:
    close(call.world, issue, call.actor, str(given.get("stateReason") or "completed").lower())
    return {"issue": fields.issue(call, issue)}


def reopening(call: Call, issue: Issue, given: Args) -> Thing:
    reopen(call.world, issue, call.actor)
    return {"issue": fields.issue(call, issue)}


def deleting(call: Call, issue: Issue, given: Args) -> Thing:
    delete_issue(call.world, issue, call.actor)
    return {"repository": fields.repository(call, issue.repo)}


MUTATIONS: dict[str, tuple[str, Mutation, str]] = {
    "markPullRequestReadyForReview": ("pullRequestId", draft_to(False), "write"),
    "convertPullRequestToDraft": ("pullRequestId", draft_to(True), "write"),
    "closeIssue": ("issueId", closing, "triage"),
    "reopenIssue": ("issueId", reopening, "triage"),
    "deleteIssue": ("issueId", deleting, "admin"),
}
"""By name: the input that names the issue, what is done, and the role it takes."""
