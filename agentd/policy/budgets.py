"""Budgets: whether a model call may go out, and when somebody is to be warned. Pure.

Used is what calls have cost; reserved is what those on their way may cost at most. A call is let out while the two
together are below the limit, so that at most one call goes over it. Where only the reserved part stands in the way the
call waits: what others have reserved is mostly given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal, NamedTuple

from agentd.model import Decision, Verdict
from agentd.policy.budget_settings import NANO, SCOPES, UNITS, Budgets, Caller, Scope, Unit

RUN_RETRY_SECONDS = 3600
"""What a client is told to wait for at a limit that no clock resets."""
SOFT, OVER = 1, 2
"""How far a scope's warnings have come: at the soft fraction; over the limit while limits only warn."""


class Amount(NamedTuple):
    """What calls use. A tuple, since some thirty are made for each call."""

    nano_usd: int = 0
    tokens: int = 0
    calls: int = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.nano_usd + other.nano_usd, self.tokens + other.tokens, self.calls + other.calls)

    def minus(self, other: Amount) -> Amount:
        """What is left of this one."""
        return Amount(self.nano_usd - other.nano_usd, self.tokens - other.tokens, self.calls - other.calls)

    def of(self, unit: Unit) -> int:
        """The number of one unit, money in billionths of a dollar."""
        return self.nano_usd if unit == "usd" else self.tokens if unit == "tokens" else self.calls


NOTHING = Amount()


class Meter(NamedTuple):
    """What one scope has used and has reserved."""

    used: Amount = NOTHING
    reserved: Amount = NOTHING
    noticed: int = 0
    """SOFT or OVER when that was told already"""


@dataclass(frozen=True)
class Bound:
    """A scope that a call counts in, with the limits that hold there."""

    scope: Scope
    key: str
    """`run:<run id>`, `day:2026-01-31` and so on: the meter's name"""
    limits: tuple[tuple[Unit, int], ...]
    """only those that are set; money in billionths of a dollar"""


@dataclass(frozen=True)
class Admission:
    """Whether a call may go out."""

    outcome: Literal["admit", "wait", "refuse"]
    verdict: Verdict | None = None
    """why not"""


def bounds(budgets: Budgets, caller: Caller, day: str) -> tuple[Bound, ...]:
    """All scopes of a call, the narrowest first. `day` is a date of UTC."""
    names: dict[Scope, str] = {
        "run": caller.run_id,
        "task": caller.task_id,
        "profile_model": f"{caller.profile}+{caller.model}",
        "profile": caller.profile,
        "model": caller.model,
        "day": day,
        "global": "all",
    }
    found = []
    for scope in SCOPES:
        limits = budgets.limits(scope, caller)
        whole = tuple((unit, round(limits[unit] * (NANO if unit == "usd" else 1))) for unit in UNITS if limits[unit])
        found.append(Bound(scope, f"{scope}:{names[scope]}", whole))
    return tuple(found)


def needs_price(found: Iterable[Bound]) -> Bound | None:
    """The first scope that limits money: without a price its limit would mean nothing."""
    return next((bound for bound in found if any(unit == "usd" for unit, _ in bound.limits)), None)


def admission(found: Iterable[Bound], meters: Mapping[str, Meter], now: datetime, *, hard: bool) -> Admission:
    """Whether one more call may go out. `hard` is False where limits only warn."""
    waits: Verdict | None = None
    for bound in found if hard else ():
        meter = meters[bound.key]
        for unit, limit in bound.limits:
            used, reserved = meter.used.of(unit), meter.reserved.of(unit)
            # A call on its way is a call; its tokens and dollars may still turn out to be fewer.
            if (used + reserved if unit == "calls" else used) >= limit:
                return Admission("refuse", _reached(bound, unit, limit, meter, now))
            if used + reserved >= limit and waits is None:
                waits = _reached(bound, unit, limit, meter, now)
    return Admission("wait", waits) if waits is not None else Admission("admit")


def warnings(
    found: Iterable[Bound], meters: Mapping[str, Meter], soft_fraction: float, *, hard: bool
) -> list[tuple[str, int, Verdict]]:
    """What is to be told now and was not before: the meter's key, SOFT or OVER, and the Verdict."""
    told = []
    for bound in found:
        meter = meters[bound.key]
        level, why = 0, None
        for unit, limit in bound.limits:
            used = meter.used.of(unit)
            reached = OVER if used >= limit and not hard else SOFT if used >= limit * soft_fraction else 0
            if reached > level:
                level, why = reached, (unit, limit)
        if level > meter.noticed and why is not None:
            told.append((bound.key, level, _warning(bound, *why, meter, level)))
    return told


def retry_after_seconds(verdict: Verdict, now: datetime) -> int:
    """What a refused client is told to wait: until the day ends, or an hour."""
    if verdict.retry_at is None:
        return RUN_RETRY_SECONDS
    return max(1, int((verdict.retry_at - now).total_seconds() + 0.999))


def _reached(bound: Bound, unit: Unit, limit: int, meter: Meter, now: datetime) -> Verdict:
    tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    return Verdict(
        control="budget",
        rule_id=f"budget_{bound.scope}_{unit}",
        decision=Decision.halt,
        scope=bound.key,
        observed=_observed(unit, meter),
        limit=_amount(unit, limit),
        action=f"raise budgets.{bound.scope}.{unit} in agentd.toml, or `agentd budget enforce off`",
        retry_at=tomorrow if bound.scope == "day" else None,
    )


def _warning(bound: Bound, unit: Unit, limit: int, meter: Meter, level: int) -> Verdict:
    what = "the limit is reached and only warns" if level == OVER else "soon the limit is reached"
    return Verdict(
        control="budget",
        rule_id=f"budget_{bound.scope}_{unit}",
        decision=Decision.allow,
        scope=bound.key,
        observed=_observed(unit, meter),
        limit=_amount(unit, limit),
        action=f"{what}; `agentd budget` shows all meters",
    )


def _observed(unit: Unit, meter: Meter) -> str:
    reserved = meter.reserved.of(unit)
    more = f", {_amount(unit, reserved)} more reserved by calls on their way" if reserved else ""
    return f"{_amount(unit, meter.used.of(unit))} used{more}"


def _amount(unit: Unit, number: int) -> str:
    return f"{number / NANO:.4f} usd" if unit == "usd" else f"{number} {unit}"
