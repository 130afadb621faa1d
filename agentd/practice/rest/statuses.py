"""Commit statuses."""

from __future__ import annotations

from agentd.practice.acts.announce import announce
from agentd.practice.acts.checks import combined_state, latest_statuses
from agentd.practice.refusal import Refused, invalid
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.repos import minimal_repository
from agentd.practice.shapes.view import stamp
from agentd.practice.world import Json

STATES = ("error", "failure", "pending", "success")
MOST_PER_CONTEXT = 1000


def status_json(call: Call, sha: str, status: Json) -> Json:
    kept = {name: value for name, value in status.items() if name != "creator"}
    user = status["creator"]
    return {
        **kept,
        "url": call.view.api(f"/repos/{call.repo.full_name}/statuses/{sha}"),
        "avatar_url": call.view.html(f"/avatars/{user.id}"),
        "creator": simple_user(call.view, user),
    }


def simple_status(call: Call, sha: str, status: Json) -> Json:
    shown = status_json(call, sha, status)
    del shown["creator"]
    return shown


@on_repo("POST", "/statuses/{sha}", need="write")
async def create(call: Call) -> Reply:
    sha, state, world = call.args["sha"], call.required("state", str), call.world
    if call.repo.git.kind(sha) != (sha, "commit"):
        raise Refused(422, f"No commit found for SHA: {sha}")
    if state not in STATES:
        raise invalid("Status", "state", value=state)
    id, now = world.next_id(), stamp(world.now())
    texts = {name: call.optional(name, str) for name in ("target_url", "description")}
    context = call.optional("context", str) or "default"
    status: Json = {"id": id, "node_id": f"SC_{id}", "state": state, "context": context, **texts}
    status |= {"created_at": now, "updated_at": now, "creator": call.actor}
    known = call.repo.statuses.setdefault(sha, [])
    if sum(each["context"] == context for each in known) >= MOST_PER_CONTEXT:
        raise Refused(422, "This SHA and context has reached the maximum number of statuses.")
    known.append(status)
    parts = {"id": id, "sha": sha, "state": state, "context": context, **texts}
    announce(world, call.repo, "status", None, call.actor, lambda view: dict(parts))
    return Reply(status_json(call, sha, status), 201)


def commit_at(call: Call) -> str:
    sha = call.repo.git.commit_of(call.args["ref"])
    if sha is None:
        raise Refused(422, f"No commit found for SHA: {call.args['ref']}")
    return sha


@on_repo("GET", "/commits/{ref*}/statuses")
async def index(call: Call) -> Reply:
    """Newest first."""
    sha = commit_at(call)
    rows = list(reversed(call.repo.statuses.get(sha, [])))
    return paged(call, rows, lambda status: status_json(call, sha, status))


@on_repo("GET", "/commits/{ref*}/status")
async def combined(call: Call) -> Reply:
    """The newest of each context and all of them in one word."""
    sha = commit_at(call)
    address = call.view.api(f"/repos/{call.repo.full_name}/commits/{sha}")
    around = {
        "state": combined_state(call.repo, sha),
        "sha": sha,
        "repository": minimal_repository(call.view, call.repo),
        "commit_url": address,
        "url": f"{address}/status",
    }
    rows = latest_statuses(call.repo, sha)
    return paged(call, rows, lambda status: simple_status(call, sha, status), "statuses", **around)
