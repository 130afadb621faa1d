"""Dependencies between issues and sub-issues."""

from __future__ import annotations

from agentd.practice.acts.issues import happened
from agentd.practice.refusal import Refused, invalid, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import issue_json
from agentd.practice.world import Issue

BLOCKED = "/issues/{number}/dependencies/blocked_by"


def by_id(call: Call, id: int) -> Issue:
    """An issue of any repository by its id (not its number)."""
    for repo in call.world.repos.values():
        for issue in repo.visible_issues():
            if issue.id == id and issue.pull is None and call.world.allows(repo, call.user, "read"):
                return issue
    raise not_found()


@on_repo("GET", BLOCKED)
async def blocked_by(call: Call) -> Reply:
    return paged(call, call.issue().blocked_by, lambda issue: issue_json(call.view, issue))


@on_repo("GET", "/issues/{number}/dependencies/blocking")
async def blocking(call: Call) -> Reply:
    return paged(call, call.issue().blocking, lambda issue: issue_json(call.view, issue))


@on_repo("POST", BLOCKED, need="triage")
async def block(call: Call) -> Reply:
    issue, blocker = call.issue(), by_id(call, call.required("issue_id", int))
    if blocker is issue or issue in blocker.blocked_by:
        raise Refused(422, "Validation Failed: an issue cannot block itself, directly or in a circle")
    if blocker in issue.blocked_by:
        raise invalid("IssueDependency", "issue_id", "already_exists")
    issue.blocked_by.append(blocker)
    blocker.blocking.append(issue)
    happened(call.world, issue, "blocked_by_added", call.actor)
    happened(call.world, blocker, "blocking_added", call.actor)
    return Reply(issue_json(call.view, issue), 201)


@on_repo("DELETE", BLOCKED + "/{issue_id}", need="triage")
async def unblock(call: Call) -> Reply:
    issue, blocker = call.issue(), by_id(call, call.int("issue_id"))
    if blocker not in issue.blocked_by:
        raise not_found()
    issue.blocked_by.remove(blocker)
    blocker.blocking.remove(issue)
    happened(call.world, issue, "blocked_by_removed", call.actor)
    happened(call.world, blocker, "blocking_removed", call.actor)
    return Reply(issue_json(call.view, issue))


@on_repo("GET", "/issues/{number}/sub_issues")
async def sub_issues(call: Call) -> Reply:
    return paged(call, call.issue().sub_issues, lambda issue: issue_json(call.view, issue))


@on_repo("GET", "/issues/{number}/parent")
async def parent(call: Call) -> Reply:
    found = call.issue().parent
    if found is None:
        raise not_found()
    return Reply(issue_json(call.view, found))


@on_repo("POST", "/issues/{number}/sub_issues", need="triage")
async def add_sub_issue(call: Call) -> Reply:
    issue, child = call.issue(), by_id(call, call.required("sub_issue_id", int))
    if child is issue or child is issue.parent or child in issue.sub_issues:
        raise Refused(422, "An error occurred while adding the sub-issue to the parent issue.")
    if child.parent is not None:
        if not call.json.get("replace_parent"):
            raise Refused(422, "Sub issue may only have one parent.")
        child.parent.sub_issues.remove(child)
    issue.sub_issues.append(child)
    child.parent = issue
    happened(call.world, issue, "sub_issue_added", call.actor)
    happened(call.world, child, "parent_issue_added", call.actor)
    return Reply(issue_json(call.view, issue), 201)


@on_repo("DELETE", "/issues/{number}/sub_issue", need="triage")
async def remove_sub_issue(call: Call) -> Reply:
    issue, child = call.issue(), by_id(call, call.required("sub_issue_id", int))
    if child not in issue.sub_issues:
        raise not_found()
    issue.sub_issues.remove(child)
    child.parent = None
    happened(call.world, issue, "sub_issue_removed", call.actor)
    happened(call.world, child, "parent_issue_removed", call.actor)
    return Reply(issue_json(call.view, issue))
