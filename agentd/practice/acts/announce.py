"""Puts what happened into the outbox of the webhooks that listen."""

from __future__ import annotations

from collections.abc import Callable

from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.repos import repository
from agentd.practice.shapes.view import View
from agentd.practice.world import Json, Repo, User, World


def announce(
    world: World, repo: Repo, event: str, action: str | None, actor: User, parts: Callable[[View], Json]
) -> None:
    """`parts` renders what the payload has besides action, repository and sender; not called when nobody listens."""
    listening = [hook for hook in repo.hooks.values() if hook.active and {event, "*"} & set(hook.events)]
    if not listening:
        return
    view = View(world.origin)
    payload: Json = {"action": action} if action else {}
    payload |= parts(view) | {"repository": repository(view, world, repo), "sender": simple_user(view, actor)}
    world.outbox += [(hook, event, payload) for hook in listening]
