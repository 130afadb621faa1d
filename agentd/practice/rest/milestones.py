"""Milestones."""

from __future__ import annotations

from agentd.practice.refusal import invalid, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import milestone_json
from agentd.practice.world import Milestone


def milestone_of(call: Call) -> Milestone:
    found = call.repo.milestones.get(call.int("milestone_number"))
    if found is None:
        raise not_found()
    return found


def checked_title(call: Call, title: str, own: Milestone | None = None) -> str:
    if any(other.title == title and other is not own for other in call.repo.milestones.values()):
        raise invalid("Milestone", "title", "already_exists")
    return title


def apply(call: Call, milestone: Milestone) -> None:
    asked = call.json
    milestone.description = call.optional("description", str) if "description" in asked else milestone.description
    milestone.due_on = call.optional("due_on", str) if "due_on" in asked else milestone.due_on
    if (state := asked.get("state")) is not None:
        if state not in ("open", "closed"):
            raise invalid("Milestone", "state")
        milestone.state = state
        milestone.closed_at = call.world.now() if state == "closed" else None
    milestone.updated_at = call.world.now()


@on_repo("GET", "/milestones")
async def index(call: Call) -> Reply:
    state = call.query.get("state", "open")
    rows = [each for each in call.repo.milestones.values() if state in ("all", each.state)]
    return paged(call, rows, lambda milestone: milestone_json(call.view, call.repo, milestone))


@on_repo("POST", "/milestones", need="write")
async def create(call: Call) -> Reply:
    number, now = max(call.repo.milestones, default=0) + 1, call.world.now()
    title = checked_title(call, call.required("title", str))
    milestone = Milestone(call.world.next_id(), number, title, call.actor, now, now)
    apply(call, milestone)
    call.repo.milestones[number] = milestone
    return Reply(milestone_json(call.view, call.repo, milestone), 201)


@on_repo("GET", "/milestones/{milestone_number}")
async def get(call: Call) -> Reply:
    milestone = milestone_of(call)
    return Reply(milestone_json(call.view, call.repo, milestone), modified=milestone.updated_at)


@on_repo("PATCH", "/milestones/{milestone_number}", need="write")
async def edit(call: Call) -> Reply:
    milestone = milestone_of(call)
    if title := call.optional("title", str):
        milestone.title = checked_title(call, title, milestone)
    apply(call, milestone)
    return Reply(milestone_json(call.view, call.repo, milestone))


@on_repo("DELETE", "/milestones/{milestone_number}", need="write")
async def delete(call: Call) -> Reply:
    milestone = milestone_of(call)
    for issue in call.repo.visible_issues():
        if issue.milestone is milestone:
            issue.milestone = None
    del call.repo.milestones[milestone.number]
    return Reply(status=204)
