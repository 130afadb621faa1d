"""Users and the rate limit."""

from __future__ import annotations

from agentd.practice.refusal import not_found
from agentd.practice.routing import Call, Reply, route
from agentd.practice.shapes.people import full_user
from agentd.practice.shapes.repos import repository
from agentd.practice.world import Json, User


def user_named(call: Call, login: str) -> User:
    user = call.world.users.get(login.lower())
    if user is None:
        raise not_found()
    return user


@route("GET", "/")
async def index(call: Call) -> Reply:
    return Reply({"current_user_url": call.view.api("/user"), "rate_limit_url": call.view.api("/rate_limit")})


@route("GET", "/meta")
async def meta(call: Call) -> Reply:
    return Reply({"verifiable_password_authentication": False})


@route("GET", "/user")
async def me(call: Call) -> Reply:
    return Reply(full_user(call.view, call.actor))


@route("GET", "/user/repos")
async def my_repos(call: Call) -> Reply:
    world, user = call.world, call.actor
    mine = [repo for repo in world.repos.values() if repo.owner is user or user.login.lower() in repo.roles]
    return Reply([repository(call.view, world, repo, user) for repo in mine])


@route("GET", "/users/{login}")
async def user(call: Call) -> Reply:
    return Reply(full_user(call.view, user_named(call, call.args["login"])))


@route("GET", "/user/{user_id}")
async def user_by_id(call: Call) -> Reply:
    found = [user for user in call.world.users.values() if user.id == call.int("user_id")]
    if not found:
        raise not_found()
    return Reply(full_user(call.view, found[0]))


@route("GET", "/rate_limit")
async def rate_limit(call: Call) -> Reply:
    name = call.user.login if call.user else ""

    def shown(resource: str) -> Json:
        bucket = call.world.limits.bucket(name, resource, call.world.now())
        reset = int(bucket.reset.timestamp())
        return {"limit": bucket.limit, "used": bucket.used, "remaining": bucket.remaining, "reset": reset}

    resources = {name: shown(name) for name in ("core", "search", "graphql")}
    return Reply({"resources": resources, "rate": resources["core"]})
