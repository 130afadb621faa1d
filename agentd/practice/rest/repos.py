"""Repositories, collaborators, forks."""

from __future__ import annotations

import asyncio
import shutil

from agentd.practice.acts.repos import new_repo, rename
from agentd.practice.refusal import Refused, invalid, not_found
from agentd.practice.rest.users import user_named
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.repos import HAS, ROLE_NAMES, SETTINGS, full_repository
from agentd.practice.world import ROLES, Json, User

LEGACY = {"maintain": "write", "triage": "read"}
"""The old field `permission` knows four words only; `role_name` has them all."""


@on_repo("GET", "")
async def get(call: Call) -> Reply:
    return Reply(full_repository(call.view, call.world, call.repo, call.user), modified=call.repo.updated_at)


@on_repo("PATCH", "", need="admin")
async def edit(call: Call) -> Reply:
    repo, asked = call.repo, call.json
    if name := call.optional("name", str):
        rename(call.world, repo, name)
    if branch := call.optional("default_branch", str):
        if repo.git.branch(branch) is None:
            raise invalid("Repository", "default_branch")
        await repo.git.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        repo.default_branch = branch
    if "private" in asked:
        repo.private = bool(asked["private"])
    if "description" in asked:
        repo.description = asked["description"]
    repo.settings |= {key: value for key, value in asked.items() if key in SETTINGS or key in HAS}
    repo.updated_at = call.world.now()
    return Reply(full_repository(call.view, call.world, repo, call.user))


@on_repo("DELETE", "", need="admin")
async def delete(call: Call) -> Reply:
    del call.world.repos[call.repo.full_name.lower()]
    call.repo.git.close()
    await asyncio.to_thread(shutil.rmtree, call.repo.git.path)
    return Reply(status=204)


@on_repo("POST", "/forks")
async def fork(call: Call) -> Reply:
    """A fork with the same name for the caller; its objects are copied at once, unlike GitHub, which takes a while."""
    world, origin = call.world, call.repo
    full_name = f"{call.actor.login}/{origin.name}"
    if call.actor is origin.owner:
        raise Refused(403, "You cannot fork your own repository.")
    if full_name.lower() not in world.repos:
        made = new_repo(world, full_name, origin.private, origin.default_branch)
        made.fork_of = origin
        await made.git.git("fetch", "--quiet", str(origin.git.path), "refs/heads/*:refs/heads/*")
    fork = world.repos[full_name.lower()]
    return Reply(full_repository(call.view, world, fork, call.user), 202)


def collaborator(call: Call, user: User) -> Json:
    role = call.world.role(call.repo, user)
    reached = ROLES.index(role)
    permissions = {name: reached >= ROLES.index(needed) for name, needed in ROLE_NAMES.items()}
    return {**simple_user(call.view, user), "permissions": permissions, "role_name": role}


@on_repo("GET", "/collaborators", need="write")
async def collaborators(call: Call) -> Reply:
    logins = [call.repo.owner.login.lower(), *(login for login, role in call.repo.roles.items() if role != "none")]
    return paged(call, [call.world.users[login] for login in logins], lambda user: collaborator(call, user))


@on_repo("GET", "/collaborators/{login}", need="write")
async def is_collaborator(call: Call) -> Reply:
    login = call.args["login"].lower()
    if login != call.repo.owner.login.lower() and call.repo.roles.get(login, "none") == "none":
        raise not_found()
    return Reply(status=204)


@on_repo("GET", "/collaborators/{login}/permission")
async def permission(call: Call) -> Reply:
    """GitHub asks for push access of the caller here only in private repositories of others."""
    user = user_named(call, call.args["login"])
    role = call.world.role(call.repo, user)
    shown = {"permission": LEGACY.get(role, role), "role_name": role, "user": collaborator(call, user)}
    return Reply(shown)


@on_repo("PUT", "/collaborators/{login}", need="admin")
async def add_collaborator(call: Call) -> Reply:
    """Takes effect at once; GitHub sends an invitation first."""
    user = user_named(call, call.args["login"])
    asked = call.optional("permission", str) or "push"
    if asked not in ROLE_NAMES:
        raise invalid("Repository", "permission")
    call.repo.roles[user.login.lower()] = ROLE_NAMES[asked]
    return Reply(status=204)


@on_repo("DELETE", "/collaborators/{login}", need="admin")
async def remove_collaborator(call: Call) -> Reply:
    call.repo.roles.pop(call.args["login"].lower(), None)
    return Reply(status=204)


@on_repo("GET", "/assignees")
async def assignees(call: Call) -> Reply:
    users = [user for user in call.world.users.values() if call.world.allows(call.repo, user, "triage")]
    return paged(call, users, lambda user: simple_user(call.view, user))


@on_repo("GET", "/assignees/{login}")
async def is_assignable(call: Call) -> Reply:
    if not call.world.allows(call.repo, user_named(call, call.args["login"]), "triage"):
        raise not_found()
    return Reply(status=204)
