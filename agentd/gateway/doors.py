"""Who listens: a door for each run, with its own key, and a public one for `agentd gateway serve`."""

from __future__ import annotations

import asyncio
import hmac
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agentd.clock import Clock
from agentd.config_tables import GatewaySettings
from agentd.errors import ConfigurationError
from agentd.gateway import refusals
from agentd.gateway.grants import Grant, Notice
from agentd.gateway.metrics import Metrics
from agentd.gateway.prices import Prices
from agentd.gateway.upstreams import Upstreams
from agentd.gateway.writer import Writer
from agentd.model import Verdict
from agentd.policy.budget_settings import Budgets, Caller
from agentd.policy.budgets import Bound, bounds
from agentd.store import spending
from agentd.store.connection import Store
from agentd.store.spending import Key

LONGEST_SOCKET = 107
"""Bytes of a unix socket's path that Linux takes."""
MOST_BOUNDS = 1000
MOST_KEYS = 1000
END_SECONDS = 5.0
"""How long the calls of a door that closes may take to be settled."""


@dataclass
class Door:
    """One listener."""

    name: str = ""
    """the one listener that a key is good for; empty takes keys that name none"""
    grant: Grant | None = None
    key_hash: str = ""
    told: Callable[[Notice], None] | None = None
    """may be called from any thread"""
    visits: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def is_public(self) -> bool:
        return self.grant is None

    def tell(self, kind: Any, run_id: str, verdict: Verdict) -> None:
        """Tell the run's owner, if it has one here."""
        if self.told is not None:
            self.told(Notice(kind, run_id, verdict))


@dataclass
class Hall:
    """What all doors share."""

    store: Store
    clock: Clock
    upstreams: Upstreams
    budgets: Budgets
    settings: GatewaySettings
    writer: Writer
    prices: Prices
    metrics: Metrics
    session: aiohttp.ClientSession
    loading: asyncio.Future[None]
    """the price list, while it is read"""
    _keys: dict[str, Key] = field(default_factory=dict)
    """those of the public door that were good when they were looked at"""
    _bounds: dict[tuple[Caller, str], tuple[Bound, ...]] = field(default_factory=dict)

    def bounds(self, caller: Caller, day: str) -> tuple[Bound, ...]:
        """All scopes of a call with their limits, worked out once."""
        found = self._bounds.get((caller, day))
        if found is None:
            if len(self._bounds) > MOST_BOUNDS:  # models are named from outside
                self._bounds.clear()
            found = self._bounds[caller, day] = bounds(self.budgets, caller, day)
        return found

    async def priced(self) -> None:
        """Return when the price list is there."""
        if not self.loading.done():
            await asyncio.shield(self.loading)

    async def is_hard(self) -> bool:
        """Whether limits refuse. Raises StoreError."""

        def said() -> bool | None:
            with self.store.read() as connection:
                return spending.enforcement(connection)

        found = await asyncio.to_thread(said)
        return self.budgets.hard_limits_enabled if found is None else found

    async def grant_of(self, door: Door, key_hash: str, *, is_free: bool) -> Grant:
        """What a key allows at a door. Raises Refused; StoreError.

        A call that costs something is let in by a key that is known here: the books look again whether it was revoked.
        What is free does not come to them.
        """
        if door.grant is not None:
            if not hmac.compare_digest(door.key_hash, key_hash):
                raise refusals.no_key()
            if not is_free:
                return door.grant
        key = None if is_free else self._keys.get(key_hash)
        key = key or await self.writer.key(key_hash)
        if key is None or key.revoked or key.door != door.name or key.expires_at <= self.clock.now():
            raise refusals.no_key()
        if len(self._keys) > MOST_KEYS:
            self._keys.clear()
        self._keys[key_hash] = key
        return Grant(key.run_id, key.task_id, key.profile, key.models, key.request_extra)


def new_door(grant: Grant, key_hash: str, told: Callable[[Notice], None]) -> Door:
    """A door for one run."""
    return Door(uuid.uuid4().hex, grant, key_hash, told)


def key_row(grant: Grant, key_hash: str, door: str, clock: Clock) -> Key:
    """The row that stands for a key in the store."""
    until = clock.now() + timedelta(seconds=grant.seconds)
    return Key(key_hash, grant.run_id, grant.task_id, grant.profile, grant.models, grant.request_extra, door, until)


@asynccontextmanager
async def listening(hall: Hall, door: Door, place: Path | tuple[str, int]) -> AsyncIterator[int | None]:
    """Serve a unix socket, or a TCP address; the port, which 0 lets the system choose.

    At the end, calls on their way are ended and settled. Raises ConfigurationError naming the place.
    """
    from agentd.gateway.handler import handle  # which needs this module itself

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        door.visits.add(task)
        try:
            return await handle(hall, door, request)
        finally:
            door.visits.discard(task)

    # With cancellation a call ends upstream too as soon as its client is gone.
    runner = web.ServerRunner(web.Server(serve, handler_cancellation=True, access_log=None), shutdown_timeout=0.05)
    await runner.setup()
    try:
        site = _site(runner, place)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"the gateway cannot listen at {_named(place)}: {error.strerror or error}"
            ) from None
        if isinstance(place, Path):
            place.chmod(0o600)
        yield None if isinstance(place, Path) else int(runner.addresses[0][1])
    finally:
        visits = set(door.visits)
        await runner.cleanup()
        for task in visits:
            task.cancel()
        if visits:
            await asyncio.wait(visits, timeout=END_SECONDS)
        if isinstance(place, Path):
            with suppress(FileNotFoundError):
                place.unlink()


def _site(runner: web.ServerRunner, place: Path | tuple[str, int]) -> web.BaseSite:
    if not isinstance(place, Path):
        return web.TCPSite(runner, place[0], place[1])
    if len(os.fsencode(place)) > LONGEST_SOCKET:
        raise ConfigurationError(
            f"{place}: the path of a socket may have {LONGEST_SOCKET} bytes; use a shorter state_dir"
        )
    return web.UnixSite(runner, place)


def _named(place: Path | tuple[str, int]) -> str:
    return str(place) if isinstance(place, Path) else f"{place[0]}:{place[1]}"
