"""One transaction of the books: keys are checked, calls admitted and settled, and meters moved, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from agentd.gateway.usage import Usage
from agentd.model import Verdict
from agentd.policy.budget_settings import NANO, Budgets, Caller
from agentd.policy.budgets import NOTHING, Amount, Bound, Meter, admission, bounds, warnings
from agentd.store import spending
from agentd.store.connection import Store
from agentd.store.spending import Call, Key

Told = Callable[[Verdict], None]
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class Reservation:
    """A call that wants to go out, with the row that it gets."""

    call: Call
    bounds: tuple[Bound, ...]
    key_hash: str
    door: str
    """listener that it came through; empty for those that take any key without a door"""


@dataclass(frozen=True)
class Answer:
    """What becomes of a reservation."""

    outcome: Literal["admit", "wait", "refuse", "key"]
    """`key`: the key is good no more"""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Settlement:
    """What a call has used."""

    call_id: str
    status: int
    usage: Usage
    nano_usd: int | None
    estimated: bool = False
    told: Told | None = None
    """hears warnings"""


@dataclass
class Known:
    """What was read and written before, as long as nobody else has written."""

    seen: tuple[int, int] | None = None
    said: bool | None = None
    """whether limits refuse, where somebody has said so"""
    meters: dict[str, Meter] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    """those on their way"""
    bounds: dict[tuple[Caller, str], tuple[Bound, ...]] = field(default_factory=dict)
    """of a caller on a day; they only come from the settings"""


class Book:
    """The meters and rows that one transaction works on; `save` writes them.

    `known` is taken over from the transaction before, and must be forgotten when this one fails.
    """

    def __init__(self, store: Store, connection: Connection, budgets: Budgets, now: datetime, known: Known) -> None:
        self._store, self._connection, self._budgets, self._now = store, connection, budgets, now
        self._known = known
        seen = spending.seen(store, connection)
        if seen is None or seen != known.seen or len(known.meters) > MOST_KNOWN:
            known.seen, known.said = seen, spending.enforcement(connection)
            known.meters.clear()
            known.keys.clear()
            known.calls.clear()
        if len(known.bounds) > MOST_KNOWN:
            known.bounds.clear()
        self._hard = budgets.hard_limits_enabled if known.said is None else known.said
        self._meters = known.meters
        self._before = dict(known.meters)
        self._touched: set[str] = set()
        self._added: list[Call] = []
        self._changed: list[Call] = []
        self.warnings: list[tuple[Told, Verdict]] = []
        """to be told once the transaction stands"""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give back what the calls had reserved and count what they used.

        One that another gateway has settled in the meantime, taking this one for dead, is put right.
        """
        calls, missing = (
            self._known.calls,
            [each.call_id for each in settlements if each.call_id not in self._known.calls],
        )
        rows = spending.load_calls(self._store, self._connection, missing)
        rows |= {each.call_id: calls.pop(each.call_id) for each in settlements if each.call_id in calls}
        found = {call_id: self._bounds(call) for call_id, call in rows.items()}
        self._load(bound.key for each in found.values() for bound in each)
        for each in settlements:
            call = rows.get(each.call_id)
            if call is None:  # the store was replaced under us; there is nothing to settle
                continue
            settled = self._settled(call, each)
            self._move(found[each.call_id], call, settled)
            if each.told is not None:
                self._warn(found[each.call_id], each.told)

    def settle_as_reserved(self, calls: Iterable[Call]) -> None:
        """Count calls of a dead gateway as if they had used all that they had reserved."""
        for call in calls:
            found = self._bounds(call)
            self._load(bound.key for bound in found)
            self._move(found, call, call._replace(state="settled", estimated=1, finished_at=self._now.isoformat()))

    def reserve(self, reservations: Sequence[Reservation]) -> list[Answer]:
        """Admit calls one after the other, each in the knowledge of those before."""
        keys = self.keys(each.key_hash for each in reservations)
        self._load(bound.key for each in reservations for bound in each.bounds)
        answers = []
        for each in reservations:
            key = keys.get(each.key_hash)
            if key is None or key.revoked or key.door != each.door or key.expires_at <= self._now:
                answers.append(Answer("key"))
                continue
            said = admission(each.bounds, self._meters, self._now, hard=self._hard)
            answers.append(Answer(said.outcome, said.verdict))
            if said.outcome == "admit":
                self._added.append(each.call)
                self._known.calls[each.call.call_id] = each.call
                for bound in each.bounds:
                    meter = self._meters[bound.key]
                    self._put(bound.key, Meter(meter.used, meter.reserved.plus(each.call.amount), meter.noticed))
        return answers

    def keys(self, hashes: Iterable[str]) -> Mapping[str, Key]:
        """Keys by their hashes; those that are none are missing."""
        missing = [each for each in dict.fromkeys(hashes) if each not in self._known.keys]
        self._known.keys |= spending.load_keys(self._store, self._connection, missing)
        return self._known.keys

    def save(self) -> None:
        """Write what has changed."""
        spending.add_calls(self._store, self._connection, self._added)
        spending.change_calls(self._store, self._connection, self._changed)
        changed = {key: self._meters[key] for key in self._touched if self._meters[key] != self._before[key]}
        spending.save_meters(self._store, self._connection, changed)

    def _settled(self, call: Call, settlement: Settlement) -> Call:
        usage, nano = settlement.usage, settlement.nano_usd
        return call._replace(
            state="settled",
            status=settlement.status,
            estimated=int(settlement.estimated),
            input_tokens=usage.input,
            output_tokens=usage.output,
            cached_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            reasoning_tokens=usage.reasoning,
            nano_usd=nano,
            cost_usd=None if nano is None else nano / NANO,
            finished_at=self._now.isoformat(),
        )

    def _move(self, found: tuple[Bound, ...], before: Call, after: Call) -> None:
        was_open = before.state == "open"
        returned = before.amount if was_open else NOTHING
        used = after.amount if was_open else after.amount.minus(before.amount)
        for bound in found:
            meter = self._meters[bound.key]
            reserved = _not_below_zero(meter.reserved.minus(returned))
            self._put(bound.key, Meter(meter.used.plus(used), reserved, meter.noticed))
        self._changed.append(after)

    def _warn(self, found: tuple[Bound, ...], told: Told) -> None:
        fraction = self._budgets.soft_fraction
        for key, level, verdict in warnings(found, self._meters, fraction, hard=self._hard):
            self._put(key, self._meters[key]._replace(noticed=level))
            self.warnings.append((told, verdict))

    def _bounds(self, call: Call) -> tuple[Bound, ...]:
        of = (Caller(call.run_id, call.task_id, call.profile, call.model), call.day)
        if of not in self._known.bounds:
            self._known.bounds[of] = bounds(self._budgets, *of)
        return self._known.bounds[of]

    def _load(self, keys: Iterable[str]) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._meters]
        found = spending.load_meters(self._store, self._connection, missing)
        self._meters.update(found)
        self._before |= found

    def _put(self, key: str, meter: Meter) -> None:
        self._meters[key] = meter
        self._touched.add(key)


def _not_below_zero(amount: Amount) -> Amount:
    return Amount(max(0, amount.nano_usd), max(0, amount.tokens), max(0, amount.calls))
