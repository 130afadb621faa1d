"""How an agent reaches its models: through the gateway, with a key of this run that is worth nothing anywhere else.

The real keys, those that a profile's `env` brings too, stay in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.agents.endpoints import endpoint, families_of
from agentd.run.desk import Desk

if TYPE_CHECKING:  # the web server and client are loaded with the first run that needs them
    from agentd.gateway.service import Gateway, Grant, Notice

PORT = 8383
"""Of the gateway on a sandbox's loopback."""


@dataclass
class ModelDoor:
    """The gateway as one program sees it."""

    gateway: Gateway
    grant: Grant
    families: tuple[str, ...]
    told: Callable[[Notice], None]
    """what the gateway decides meanwhile, in the caller's event loop"""
    endpoint: dict[str, str] = field(default_factory=dict)
    """once it is open, the variables by which the program finds it"""

    @asynccontextmanager
    async def opened(self, socket: Path | None = None) -> AsyncIterator[None]:
        """Listens inside the `with`: on the socket of a sandbox, else on a port of this host's loopback."""
        async with self.gateway.opened(self.grant, self.told, socket) as access:
            self.endpoint = endpoint(self.families, access.port or PORT, access.key)
            yield


def model_door(desk: Desk, told: Callable[[Notice], None]) -> ModelDoor | None:
    """The door for the run's agent; None when it asks for no model, or the gateway is switched off."""
    context, profile = desk.context, desk.profile
    families = families_of(profile, context.environ)
    if not families or not context.settings.gateway.enabled:
        return None
    return ModelDoor(context.gateway_for(profile), _grant(desk), families, told)


def _grant(desk: Desk) -> Grant:
    from agentd.gateway.service import Grant

    profile = desk.profile
    # Deep Agents writes `openai:gpt-5`, and asks the service for `gpt-5`.
    named = [part for name in (profile.model, *profile.models) for part in (name, name.partition(":")[2]) if part]
    return Grant(
        run_id=desk.run.run_id,
        task_id=desk.task.task_id,
        profile=profile.name,
        models=tuple(named) if profile.models else (),
        request_extra=profile.request_extra,
    )
