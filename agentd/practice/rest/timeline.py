"""Issue events and the timeline."""

from __future__ import annotations

from agentd.practice.history import merge_base, shas_between
from agentd.practice.refusal import not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.events import event_json, events_of, timeline
from agentd.practice.shapes.issues import issue_json


@on_repo("GET", "/issues/{number}/events")
async def of_issue(call: Call) -> Reply:
    issue = call.issue()
    return paged(call, events_of(issue), lambda event: event_json(call.view, issue, event))


@on_repo("GET", "/issues/events")
async def of_repo(call: Call) -> Reply:
    """Newest first."""
    rows = [(issue, event) for issue in call.repo.visible_issues() for event in events_of(issue)]
    rows.sort(key=lambda row: row[1].id, reverse=True)
    return paged(call, rows, lambda row: event_json(call.view, *row) | {"issue": issue_json(call.view, row[0])})


@on_repo("GET", "/issues/events/{event_id}")
async def get(call: Call) -> Reply:
    for issue in call.repo.visible_issues():
        for event in events_of(issue):
            if event.id == call.int("event_id"):
                return Reply(event_json(call.view, issue, event) | {"issue": issue_json(call.view, issue)})
    raise not_found()


@on_repo("GET", "/issues/{number}/timeline")
async def of_issue_with_all(call: Call) -> Reply:
    issue, commits = call.issue(), []
    if issue.pull:
        git, pull = issue.repo.git, issue.pull
        fork = await merge_base(git, pull.base_sha, pull.head_sha)
        commits = await shas_between(git, fork or pull.base_sha, pull.head_sha)
    return paged(call, timeline(call.view, call.world, issue, commits), lambda row: row)
