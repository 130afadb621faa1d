"""Webhooks of a repository."""

from __future__ import annotations

from agentd.practice.refusal import Refused, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.view import stamp
from agentd.practice.world import Json, Webhook


def hook_json(call: Call, hook: Webhook) -> Json:
    address = call.view.api(f"/repos/{call.repo.full_name}/hooks/{hook.id}")
    config = {"content_type": "json", "insecure_ssl": "0", "url": hook.url}
    return {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": list(hook.events),
        "config": config | ({"secret": "********"} if hook.secret else {}),
        "updated_at": stamp(hook.created_at),
        "created_at": stamp(hook.created_at),
        "url": address,
        "test_url": f"{address}/test",
        "ping_url": f"{address}/pings",
        "deliveries_url": f"{address}/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }


def hook_of(call: Call) -> Webhook:
    hook = call.repo.hooks.get(call.int("hook_id"))
    if hook is None:
        raise not_found()
    return hook


@on_repo("GET", "/hooks", need="admin")
async def index(call: Call) -> Reply:
    return paged(call, list(call.repo.hooks.values()), lambda hook: hook_json(call, hook))


@on_repo("POST", "/hooks", need="admin")
async def create(call: Call) -> Reply:
    config = call.required("config", dict)
    if not config.get("url"):
        raise Refused(422, 'Invalid request.\n\n"url" wasn\'t supplied.')
    events = tuple(call.optional("events", list) or ["push"])
    hook = Webhook(call.world.next_id(), config["url"], config.get("secret"), events, call.world.now())
    hook.active = call.json.get("active") is not False
    call.repo.hooks[hook.id] = hook
    return Reply(hook_json(call, hook), 201)


@on_repo("GET", "/hooks/{hook_id}", need="admin")
async def get(call: Call) -> Reply:
    return Reply(hook_json(call, hook_of(call)))


@on_repo("DELETE", "/hooks/{hook_id}", need="admin")
async def delete(call: Call) -> Reply:
    del call.repo.hooks[hook_of(call).id]
    return Reply(status=204)
