"""The lead: of all supervisors of a store one decides at a time, under a claim like that of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from agentd.run.claim import Holding
from agentd.run.context import Context
from agentd.run.executor import executor_is_dead
from agentd.store import claims

LEAD = "supervisor"
"""What the claim of the lead is called where a task's id stands in others."""


@dataclass
class Lead:
    """This process's hold on the lead, if it has one."""

    context: Context
    holding: Holding | None = None
    keeper: asyncio.Task[None] | None = None
    since: float = 0.0
    """boot time since which it has been held without a break"""

    def holder(self) -> str:
        """Who has the lead; empty when nobody has."""
        found = (row for row in claims.list_claims(self.context.store) if row.claim.task_id == LEAD)
        return next((row.claim.holder for row in found if row.seconds_left > 0), "")

    async def take(self) -> bool:
        """Have the lead; False when somebody else has it. A dead process of this very place has it no more."""
        if self.holding is not None and not self.holding.lost and self._lives():
            return True
        await self.give_back()
        context, lease = self.context, self.context.settings.claim.lease_seconds
        other = self.holder()
        if executor_is_dead(other.partition("/")[2], context.place):
            claims.expire_holder(context.store, other)
        before = context.clock.boottime()
        claim = claims.acquire(context.store, LEAD, context.holder, "", lease)
        if claim is None:
            return False
        self.holding, self.since = Holding(context, claim, before + lease, float("inf")), before
        self.keeper = asyncio.create_task(self.holding.keep())
        return True

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Writes to GitHub inside are stopped when the lead is lost. Raises ClaimLost."""
        assert self.holding is not None, "only the one who leads decides"
        with self.context.github.guarding(self.holding):
            yield

    def fence(self, connection: Connection) -> None:
        """Raises ClaimLost, within the transaction of a write, when somebody else leads."""
        assert self.holding is not None, "only the one who leads decides"
        claims.require(self.context.store, connection, self.holding.claim)

    async def give_back(self) -> None:
        """Let somebody else lead."""
        if self.keeper is not None:
            self.keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self.keeper
        if self.holding is not None:
            await self.holding.release()
        self.holding = self.keeper = None

    def _lives(self) -> bool:
        return self.holding is not None and self.context.clock.boottime() < self.holding.deadline()
