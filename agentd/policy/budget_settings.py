"""What may be spent, and for whom: limits by scope, with narrower ones for tasks, profiles and models. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from agentd.model import Frozen

Scope = Literal["run", "task", "profile_model", "profile", "model", "day", "global"]
Unit = Literal["usd", "tokens", "calls"]
SCOPES: tuple[Scope, ...] = ("run", "task", "profile_model", "profile", "model", "day", "global")
"""The narrowest first: the order in which a limit that is reached is named."""
UNITS: tuple[Unit, ...] = ("usd", "tokens", "calls")
NANO = 1_000_000_000
"""Money is added up in whole billionths of a dollar: sums stay exact."""


@dataclass(frozen=True)
class Caller:
    """Who asks for a model call."""

    run_id: str
    task_id: str
    profile: str
    """a profile's name, without a revision"""
    model: str


class Limits(Frozen):
    """`[budgets.<scope>]`: what all calls of one scope together may use. 0 is no limit."""

    usd: float = Field(default=0.0, ge=0, le=1e9)
    """US dollars, by the price list of `[gateway.prices]` and the built-in one."""
    tokens: int = Field(default=0, ge=0, le=10**15)
    """Tokens of input and output together, those from a cache included."""
    calls: int = Field(default=0, ge=0, le=10**15)
    """Calls that went to a model, whatever came of them."""


class Override(Frozen):
    """`[[budgets.overrides]]`: other limits of one scope, for the calls that fit all that it names."""

    scope: Scope
    """run, task, profile_model, profile, model, day or global: whose limits these are."""
    task: str = ""
    """Only calls for this task; empty fits all."""
    profile: str = ""
    """Only calls of this profile; empty fits all."""
    model: str = ""
    """Only calls of this model; empty fits all."""
    usd: float | None = Field(default=None, ge=0, le=1e9)
    """Instead of the wider limit; 0 lifts it."""
    tokens: int | None = Field(default=None, ge=0, le=10**15)
    """Instead of the wider limit; 0 lifts it."""
    calls: int | None = Field(default=None, ge=0, le=10**15)
    """Instead of the wider limit; 0 lifts it."""

    def fits(self, caller: Caller) -> bool:
        """Whether the caller is all that this names."""
        wanted = ((self.task, caller.task_id), (self.profile, caller.profile), (self.model, caller.model))
        return all(not named or named == actual for named, actual in wanted)

    @property
    def narrowness(self) -> int:
        """A task is narrower than profile and model together, a profile narrower than a model: no two are equal."""
        return 4 * bool(self.task) + 2 * bool(self.profile) + bool(self.model)


class Budgets(Frozen):
    """`[budgets]`: what models may cost. Every scope applies; in each, the narrowest override with a limit wins."""

    model_config = ConfigDict(serialize_by_alias=True)

    hard_limits_enabled: bool = True
    """Refuse calls at a limit; otherwise only warn. `agentd budget enforce` overrides it while all runs."""
    soft_fraction: float = Field(default=0.8, gt=0, le=1)
    """One warning for each scope when so much of a limit is used."""
    run: Limits = Limits(tokens=20_000_000, calls=2_000)
    """`[budgets.run]`: one run."""
    task: Limits = Limits()
    """`[budgets.task]`: all runs of one task."""
    profile_model: Limits = Limits()
    """`[budgets.profile_model]`: all calls of one profile to one model."""
    profile: Limits = Limits()
    """`[budgets.profile]`: all runs of one profile."""
    model: Limits = Limits()
    """`[budgets.model]`: all calls to one model."""
    day: Limits = Limits()
    """`[budgets.day]`: all calls of one day, in UTC."""
    everything: Limits = Field(default=Limits(), alias="global")
    """`[budgets.global]`: all calls ever."""
    overrides: tuple[Override, ...] = ()
    """`[[budgets.overrides]]`: narrower limits, see below. Their order does not matter."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_stay(cls, values: Any) -> Any:
        """A `[budgets.run]` that sets one limit keeps the defaults of the others."""
        run = values.get("run") if isinstance(values, Mapping) else None
        return {**values, "run": {"tokens": 20_000_000, "calls": 2_000, **run}} if isinstance(run, Mapping) else values

    @model_validator(mode="after")
    def _no_two_alike(self) -> Budgets:
        seen = set()
        for each in self.overrides:
            place = (each.scope, each.task, each.profile, each.model)
            if place in seen:
                named = ", ".join(
                    f"{key}={value!r}"
                    for key, value in zip(("scope", "task", "profile", "model"), place, strict=True)
                    if value
                )
                raise ValueError(f"two overrides for {named}; keep one")
            seen.add(place)
        return self

    def limits(self, scope: Scope, caller: Caller) -> Mapping[Unit, float]:
        """The limits that hold for one caller in one scope; 0 is none."""
        base = self.everything if scope == "global" else getattr(self, scope)
        found: dict[Unit, float] = {unit: getattr(base, unit) for unit in UNITS}
        fitting = [each for each in self.overrides if each.scope == scope and each.fits(caller)]
        for each in sorted(fitting, key=lambda override: override.narrowness):
            found.update({unit: getattr(each, unit) for unit in UNITS if getattr(each, unit) is not None})
        return MappingProxyType(found)


def limits_of(budgets: Budgets, scope: str) -> dict[Unit, float]:
    """The limits of a meter by its name (`day:2026-01-31`); narrower ones for single callers are not among them."""
    kind, _, name = scope.partition(":")
    found = next((each for each in SCOPES if each == kind), None)
    if found is None:
        return {}
    profile, _, model = name.partition("+") if kind == "profile_model" else (name, "", name)
    caller = Caller(
        run_id="",
        task_id=name if kind == "task" else "",
        profile=profile if kind in ("profile", "profile_model") else "",
        model=model if kind in ("model", "profile_model") else "",
    )
    return {unit: limit for unit, limit in budgets.limits(found, caller).items() if limit}
