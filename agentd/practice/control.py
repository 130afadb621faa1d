"""/_practice/...: the Python API for another process, as JSON. No authentication: it listens on loopback only."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from agentd.practice import people
from agentd.practice.faults import Fault
from agentd.practice.refusal import Refused
from agentd.practice.seed import sow
from agentd.practice.shapes.view import stamp
from agentd.practice.world import Json, World

RATE = ("limit", "remaining", "reset_in")
Action = Callable[[World, Json], Awaitable[Any]]


async def answer(world: World, request: web.Request) -> web.StreamResponse:
    """Does what the path says; 400 with a message for a body that does not fit."""
    name = request.path.removeprefix("/_practice/")
    if request.method == "GET" and name == "log":
        return web.json_response([record_json(record) for record in world.log])
    action = ACTIONS.get(name)
    if action is None or request.method != "POST":
        known = ", ".join(sorted(ACTIONS))
        return web.json_response({"message": f"there are GET log and POST {known}"}, status=404)
    try:
        return web.json_response(await action(world, json.loads(await request.read() or b"{}")))
    except (KeyError, TypeError, ValueError, Refused) as error:
        return web.json_response({"message": f"{type(error).__name__}: {error}"}, status=400)


def record_json(record: Any) -> Json:
    shown = dataclasses.asdict(record)
    body = record.body
    return shown | {"at": stamp(record.at), "body": None if body is None else body.decode(errors="replace")}


async def faults(world: World, body: Json) -> Json:
    world.faults.append(Fault(**body))
    return {"faults": len(world.faults)}


async def config(world: World, body: Json) -> Json:
    """Switches of Config, and limit, remaining and reset_in of the primary rate limit."""
    switches = {name: value for name, value in body.items() if name not in RATE}
    world.config = dataclasses.replace(world.config, **switches)
    if set(body) & set(RATE):
        world.limits.set(body.get("limit", 5000), body.get("remaining"), body.get("reset_in", 3600))
    return dataclasses.asdict(world.config)


async def users(world: World, body: Json) -> Json:
    return {"id": world.add_user(**body).id}


async def repos(world: World, body: Json) -> Json:
    files = body.get("files")
    branch = body.get("default_branch", "main")
    made = await people.add_repo(world, body["full_name"], body.get("private", False), branch, files)
    return {"path": str(made.git.path)}


async def tokens(world: World, body: Json) -> Json:
    scopes = tuple(body.get("scopes", ["repo"]))
    made = world.add_token(body["login"], scopes, body.get("read_only", False), body.get("value"))
    return {"token": made.value}


async def grants(world: World, body: Json) -> Json:
    people.grant(world, body["full_name"], body["login"], body["role"])
    return {}


async def issues(world: World, body: Json) -> Json:
    labels, author = body.get("labels", []), body.get("author", "alice")
    made = await people.create_issue(world, body["repo"], body["title"], body.get("body", ""), labels, author)
    return {"number": made}


async def commits(world: World, body: Json) -> Json:
    """`files` are texts, or null to delete; `files_base64` are bytes."""
    binary = {name: base64.b64decode(text) for name, text in body.get("files_base64", {}).items()}
    files = {**body.get("files", {}), **binary}
    message, author = body.get("message", "change"), body.get("author", "alice")
    return {"sha": await people.commit(world, body["repo"], body["branch"], files, message, author)}


async def merges(world: World, body: Json) -> Json:
    method, user = body.get("method", "merge"), body.get("user", "alice")
    return {"sha": await people.merge(world, body["repo"], body["number"], method, user)}


async def webhooks(world: World, body: Json) -> Json:
    events = body.get("events", ["*"])
    return {"id": people.add_webhook(world, body["repo"], body["url"], body.get("secret"), events)}


ACTIONS: dict[str, Action] = {
    "faults": faults,
    "config": config,
    "users": users,
    "repos": repos,
    "tokens": tokens,
    "grants": grants,
    "issues": issues,
    "commits": commits,
    "merges": merges,
    "webhooks": webhooks,
    "seed": sow,
}
