"""One admitted call: what it may cost at most, and that it is settled exactly once, whatever becomes of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from agentd.clock import Clock
from agentd.config_tables import Dialect, GatewaySettings
from agentd.gateway.booking import Reservation, Settlement, Told
from agentd.gateway.dialects import Asked
from agentd.gateway.grants import Grant, extra_hash
from agentd.gateway.metrics import Metrics
from agentd.gateway.prices import Prices
from agentd.gateway.upstreams import Upstream
from agentd.gateway.usage import Tee, Usage
from agentd.policy.budget_settings import NANO
from agentd.policy.budgets import Bound
from agentd.store.spending import Call

BYTES_PER_TOKEN = 3
"""Of a request's JSON: less than English or code has, so that the reserved input is hardly ever too little."""
CLIENT_GONE = 499


@dataclass(frozen=True)
class Slip:
    """What a reservation is made from."""

    grant: Grant
    dialect: Dialect
    asked: Asked
    upstream: Upstream
    nano_usd: int | None
    """the most that the call may cost; None without a price"""
    input_tokens: int
    output_tokens: int

    def row(self, gateway: str, clock: Clock, day: str) -> Call:
        """The row that holds the reservation."""
        return Call(
            call_id=new_call_id(),
            gateway=gateway,
            run_id=self.grant.run_id,
            task_id=self.grant.task_id,
            profile=self.grant.profile,
            model=self.asked.model,
            dialect=self.dialect,
            upstream=self.upstream.name,
            day=day,
            state="open",
            status=0,
            estimated=0,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=0,
            cache_write_tokens=0,
            reasoning_tokens=0,
            nano_usd=self.nano_usd,
            cost_usd=None if self.nano_usd is None else self.nano_usd / NANO,
            extra_hash=extra_hash(self.grant.request_extra),
            started_at=clock.now().isoformat(),
            finished_at=None,
        )


def new_call_id() -> str:
    """32 hex digits, later ones behind earlier ones, so that new rows stand together on the disk."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(9)}"


def slip_of(
    grant: Grant, dialect: Dialect, asked: Asked, upstream: Upstream, prices: Prices, settings: GatewaySettings
) -> Slip:
    """The most that a call may use: its input by its size, its output by what it asks for."""
    input_tokens = len(asked.body) // BYTES_PER_TOKEN + 1
    output_tokens = settings.max_output_tokens if asked.max_output_tokens is None else asked.max_output_tokens
    nano_usd = prices.most(asked.model, input_tokens, output_tokens)
    return Slip(grant, dialect, asked, upstream, nano_usd, input_tokens, output_tokens)


@dataclass
class Ticket:
    """An admitted call on its way."""

    call: Call
    prices: Prices
    metrics: Metrics
    send: Callable[[Settlement], None]
    told: Told
    status: int = CLIENT_GONE
    """of the answer; as long as there is none, the client is gone if this ends"""
    is_free: bool = False
    """the service did no work for it: it was not reached, or it answered with an error"""
    tee: Tee | None = None
    is_whole: bool = False
    """the service closed its answer as it should"""
    _began: float = field(default_factory=time.monotonic)
    _is_settled: bool = False

    def settle(self) -> None:
        """Say what the call has used; only the first time counts."""
        if self._is_settled:
            return
        self._is_settled = True
        usage, estimated = self._usage()
        nano = 0 if self.is_free else self.prices.cost(self.call.model, usage)
        if estimated and nano is not None:
            nano = max(nano, self.call.nano_usd or 0)
        call, usage = self.call, usage.whole
        self.send(Settlement(call.call_id, self.status, usage, nano, estimated, self.told))
        seconds = time.monotonic() - self._began
        count = partial(self.metrics.settled, call.dialect, call.upstream, self.status, usage, nano, seconds)
        # The client is waiting for the end of its answer.
        asyncio.get_running_loop().call_soon(partial(count, estimated=estimated))

    def _usage(self) -> tuple[Usage, bool]:
        """What was used, and whether that is only an estimate: unknown usage is what was reserved, never nothing."""
        if self.is_free:
            return Usage(), False
        told = self.tee.usage(is_whole=self.is_whole) if self.tee is not None else None
        if told is not None and told.input > 0:
            return told, False
        if told is not None:  # every call has an input: the service has counted its answer only
            return replace(told, input=self.call.input_tokens), True
        least = (self.tee.partial() if self.tee is not None else None) or Usage()
        pieces = self.tee.pieces if self.tee is not None else 0
        output = max(self.call.output_tokens, least.output, pieces)
        return Usage(max(self.call.input_tokens, least.input), output), True

    def reservation(self, bounds: tuple[Bound, ...], key_hash: str, door: str) -> Reservation:
        """What the books are asked for."""
        return Reservation(self.call, bounds, key_hash, door)
