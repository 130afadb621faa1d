"""Issues: list, open, get, edit, lock."""

from __future__ import annotations

from collections.abc import Iterable

from agentd.practice.acts import issues as acts
from agentd.practice.refusal import Refused, invalid
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import full_issue, issue_json
from agentd.practice.world import Issue, Milestone, User

SORTS = {
    "created": lambda issue: (issue.created_at, issue.number),
    "updated": lambda issue: (issue.updated_at, issue.number),
    "comments": lambda issue: (len(issue.comments), issue.number),
}
REASONS = ("completed", "not_planned", "duplicate", "reopened")
LOCK_REASONS = ("off-topic", "too heated", "resolved", "spam")


@on_repo("GET", "/issues")
async def index(call: Call) -> Reply:
    """Issues and pull requests that pass all filters."""
    query = call.query
    found: Iterable[Issue] = call.repo.visible_issues()
    if (state := query.get("state", "open")) != "all":
        found = [issue for issue in found if issue.state == state]
    if names := {name.strip().lower() for name in query.get("labels", "").split(",") if name.strip()}:
        found = [issue for issue in found if names <= {label.name.lower() for label in issue.labels}]
    if since := call.since():
        found = [issue for issue in found if issue.updated_at >= since]
    if creator := query.get("creator"):
        found = [issue for issue in found if issue.user.login.lower() == creator.lower()]
    if assignee := query.get("assignee"):
        found = [issue for issue in found if assigned(issue, assignee)]
    if milestone := query.get("milestone"):
        found = [issue for issue in found if in_milestone(issue, milestone)]
    key = SORTS.get(query.get("sort", "created"), SORTS["created"])
    rows = sorted(found, key=key, reverse=query.get("direction", "desc") != "asc")
    return paged(call, rows, lambda issue: issue_json(call.view, issue))


def assigned(issue: Issue, wanted: str) -> bool:
    if wanted in ("*", "none"):
        return bool(issue.assignees) == (wanted == "*")
    return wanted.lower() in [user.login.lower() for user in issue.assignees]


def in_milestone(issue: Issue, wanted: str) -> bool:
    if wanted in ("*", "none"):
        return (issue.milestone is not None) == (wanted == "*")
    return issue.milestone is not None and str(issue.milestone.number) == wanted


def names_of(values: Iterable[object]) -> list[str]:
    """Label names as strings or as objects with a name."""
    names = [value.get("name") if isinstance(value, dict) else value for value in values]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise invalid("Label", "name")
    return [str(name) for name in names]


def assignable(call: Call, logins: Iterable[str]) -> list[User]:
    """The users of these logins that may be assigned; GitHub ignores others when they come as a list."""
    known = [call.world.users.get(str(login).lower()) for login in logins]
    return [user for user in known if user is not None and call.world.allows(call.repo, user, "triage")]


def milestone_of(call: Call) -> Milestone | None:
    number = call.json.get("milestone")
    if number is None:
        return None
    found = call.repo.milestones.get(number if isinstance(number, int) else -1)
    if found is None:
        raise invalid("Issue", "milestone", value=number)
    return found


@on_repo("POST", "/issues")
async def create(call: Call) -> Reply:
    """Labels, assignees and milestone of a caller without triage rights are dropped silently, as on GitHub."""
    if call.repo.settings.get("has_issues") is False:
        raise Refused(410, "Issues has been disabled in this repository.")
    may = call.allowed("triage")
    issue = acts.open_issue(
        call.world,
        call.repo,
        call.actor,
        call.required("title", str),
        call.optional("body", str),
        names_of(call.optional("labels", list) or []) if may else [],
        assignable(call, call.optional("assignees", list) or [call.json.get("assignee") or ""]) if may else [],
        milestone_of(call) if may else None,
    )
    headers = {"Location": call.view.api(f"/repos/{call.repo.full_name}/issues/{issue.number}")}
    return Reply(full_issue(call.view, issue), 201, headers)


@on_repo("GET", "/issues/{number}")
async def get(call: Call) -> Reply:
    issue = call.issue()
    return Reply(full_issue(call.view, issue), modified=issue.updated_at)


@on_repo("PATCH", "/issues/{number}")
async def edit(call: Call) -> Reply:
    """Text and state for the author too, the rest for triage."""
    issue = call.issue()
    apply_edit(call, issue)
    return Reply(full_issue(call.view, issue))


def apply_edit(call: Call, issue: Issue) -> None:
    world, actor, asked = call.world, call.actor, call.json
    if not call.allowed("triage"):
        if actor is not issue.user:
            raise Refused(403, "Must have admin rights to Repository.")
        asked = {name: value for name, value in asked.items() if name in ("title", "body", "state", "state_reason")}
    state, reason = asked.get("state"), asked.get("state_reason")
    if state not in (None, "open", "closed"):
        raise invalid("Issue", "state", value=state)
    if reason not in (None, *REASONS):
        raise invalid("Issue", "state_reason", value=reason)
    milestone = milestone_of(call) if "milestone" in asked else None
    if asked.get("title") is not None:
        acts.change_title(world, issue, actor, str(call.required("title", str)))
    if "body" in asked:
        acts.change_body(world, issue, actor, call.optional("body", str))
    if asked.get("labels") is not None:
        acts.set_labels(world, issue, actor, names_of(call.required("labels", list)))
    if "assignees" in asked or asked.get("assignee"):
        wanted = assignable(call, asked.get("assignees") or [asked.get("assignee") or ""])
        acts.remove_assignees(world, issue, actor, [user for user in issue.assignees if user not in wanted])
        acts.add_assignees(world, issue, actor, wanted)
    if "milestone" in asked:
        acts.set_milestone(world, issue, actor, milestone)
    if state == "closed":
        acts.close(world, issue, actor, reason)
    elif state == "open":
        acts.reopen(world, issue, actor)


@on_repo("PUT", "/issues/{number}/lock", need="write")
async def lock(call: Call) -> Reply:
    issue, reason = call.issue(), call.optional("lock_reason", str)
    if reason not in (None, *LOCK_REASONS):
        raise invalid("Issue", "lock_reason", value=reason)
    if not issue.locked:
        issue.locked, issue.lock_reason = True, reason
        acts.happened(call.world, issue, "locked", call.actor, lock_reason=reason)
        acts.tell(call.world, issue, "locked", call.actor)
    return Reply(status=204)


@on_repo("DELETE", "/issues/{number}/lock", need="write")
async def unlock(call: Call) -> Reply:
    issue = call.issue()
    if issue.locked:
        issue.locked, issue.lock_reason = False, None
        acts.happened(call.world, issue, "unlocked", call.actor)
        acts.tell(call.world, issue, "unlocked", call.actor)
    return Reply(status=204)


@on_repo("POST", "/issues/{number}/assignees", need="triage")
async def add_assignees(call: Call) -> Reply:
    issue = call.issue()
    acts.add_assignees(call.world, issue, call.actor, assignable(call, call.required("assignees", list)))
    return Reply(full_issue(call.view, issue), 201)


@on_repo("DELETE", "/issues/{number}/assignees", need="triage")
async def remove_assignees(call: Call) -> Reply:
    issue, logins = call.issue(), [str(login).lower() for login in call.required("assignees", list)]
    going = [user for user in issue.assignees if user.login.lower() in logins]
    acts.remove_assignees(call.world, issue, call.actor, going)
    return Reply(full_issue(call.view, issue))
