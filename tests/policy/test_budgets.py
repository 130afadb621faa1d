"""Budgets as pure functions: which limit holds, when a call goes out, waits or is refused, and who is warned."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentd.policy.budget_settings import Budgets, Caller, Limits, Override
from agentd.policy.budgets import (
    OVER,
    SOFT,
    Amount,
    Bound,
    Meter,
    admission,
    bounds,
    needs_price,
    retry_after_seconds,
    warnings,
)

CALLER = Caller("run-1", "P0-01", "build", "gpt-5")
NOW = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)
ONE = Bound("run", "run:run-1", (("tokens", 1000),))


def meters(used: int = 0, reserved: int = 0, noticed: int = 0, key: str = ONE.key) -> dict[str, Meter]:
    return {key: Meter(Amount(tokens=used), Amount(tokens=reserved), noticed)}


def test_every_scope_of_a_call_is_named() -> None:
    assert [bound.key for bound in bounds(Budgets(), CALLER, "2026-01-31")] == [
        "run:run-1",
        "task:P0-01",
        "profile_model:build+gpt-5",
        "profile:build",
        "model:gpt-5",
        "day:2026-01-31",
        "global:all",
    ]
    assert bounds(Budgets(), CALLER, "d")[0].limits == (("tokens", 20_000_000), ("calls", 2_000))
    assert needs_price(bounds(Budgets(), CALLER, "d")) is None
    dear = needs_price(bounds(Budgets(day=Limits(usd=1.5)), CALLER, "d"))
    assert dear is not None
    assert (dear.key, dear.limits) == ("day:d", (("usd", 1_500_000_000),))


OVERRIDES = (
    Override(scope="run", usd=1, tokens=10),
    Override(scope="run", model="gpt-5", usd=2),
    Override(scope="run", profile="build", usd=3, calls=7),
    Override(scope="run", profile="build", model="gpt-5", usd=4),
    Override(scope="run", task="P0-01", usd=0),
    Override(scope="run", task="P9-99", usd=9, tokens=9),
    Override(scope="day", profile="build", usd=5),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(7)))[::97], ids=str)
def test_the_narrowest_override_that_sets_a_limit_wins_in_any_order(order: tuple[int, ...]) -> None:
    budgets = Budgets(overrides=tuple(OVERRIDES[number] for number in order))
    assert budgets.limits("run", CALLER) == {"usd": 0, "tokens": 10, "calls": 7}
    assert budgets.limits("run", replace(CALLER, task_id="x")) == {"usd": 4, "tokens": 10, "calls": 7}
    assert budgets.limits("run", replace(CALLER, task_id="x", profile="y")) == {"usd": 2, "tokens": 10, "calls": 2000}
    assert budgets.limits("day", CALLER) == {"usd": 5, "tokens": 0, "calls": 0}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"overrides": [{"scope": "run", "usd": 1}, {"scope": "run", "usd": 2}]}, "two overrides for scope='run'"),
        ({"run": {"usd": -1}}, "greater than or equal to 0"),
        ({"run": {"usd": float("inf")}}, "run.usd"),
        ({"soft_fraction": 0}, "soft_fraction"),
        ({"overrides": [{"scope": "week"}]}, "overrides.0.scope"),
        ({"everything": {"usd": 1}}, "everything"),
    ],
)
def test_settings_that_cannot_be_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("'", ".")):
        Budgets.model_validate(values)


def test_a_run_limit_that_is_set_leaves_the_others_as_they_were() -> None:
    assert Budgets.model_validate({"run": {"usd": 2}}).run == Limits(usd=2, tokens=20_000_000, calls=2_000)
    assert Budgets.model_validate({"global": {"usd": 2}}).limits("global", CALLER)["usd"] == 2


@pytest.mark.parametrize(
    ("used", "reserved", "hard", "outcome"),
    [
        (0, 0, True, "admit"),
        (999, 0, True, "admit"),
        (1000, 0, True, "refuse"),
        (1001, 0, True, "refuse"),
        (999, 1, True, "wait"),
        (0, 1000, True, "wait"),
        (1000, 500, True, "refuse"),
        (5000, 5000, False, "admit"),
    ],
)
def test_a_call_goes_out_waits_or_is_refused(used: int, reserved: int, hard: bool, outcome: str) -> None:
    said = admission([ONE], meters(used, reserved), NOW, hard=hard)
    assert said.outcome == outcome
    if outcome != "admit":
        assert said.verdict is not None
        assert (said.verdict.control, said.verdict.rule_id) == ("budget", "budget_run_tokens")
        assert (said.verdict.scope, said.verdict.limit) == ("run:run-1", "1000 tokens")
        assert "budgets.run.tokens" in said.verdict.action


def test_a_call_on_its_way_is_a_call() -> None:
    bound = Bound("task", "task:t", (("calls", 2),))
    meter = {"task:t": Meter(Amount(calls=1), Amount(calls=1))}
    assert admission([bound], meter, NOW, hard=True).outcome == "refuse"


@pytest.mark.parametrize(("scope", "key", "seconds"), [("run", "run:r", 3600), ("day", "day:2026-01-31", 30)])
def test_a_refused_client_is_told_to_wait_for_the_day_or_an_hour(scope: Any, key: str, seconds: int) -> None:
    said = admission([Bound(scope, key, (("tokens", 1),))], meters(1, key=key), NOW, hard=True)
    assert said.verdict is not None
    assert retry_after_seconds(said.verdict, NOW) == seconds


@pytest.mark.parametrize(
    ("used", "noticed", "hard", "level"),
    [
        (799, 0, True, None),
        (800, 0, True, SOFT),
        (900, SOFT, True, None),
        (1000, 0, True, SOFT),
        (1000, SOFT, False, OVER),
        (1200, OVER, False, None),
    ],
)
def test_a_warning_comes_once(used: int, noticed: int, hard: bool, level: int | None) -> None:
    told = warnings([ONE], meters(used, noticed=noticed), 0.8, hard=hard)
    assert [found for _, found, _ in told] == ([] if level is None else [level])
    assert all(verdict.decision == "allow" for _, _, verdict in told)


@given(
    limit=st.integers(1, 500),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 100), st.integers(0, 100)), max_size=60),
)
def test_used_and_reserved_go_over_a_limit_by_one_call_at_most(limit: int, steps: list[tuple[bool, int, int]]) -> None:
    """Calls begin and end in any order; what each uses is at most what it reserved."""
    bound = Bound("run", "r", (("tokens", limit),))
    meter, out, largest = Meter(), [], 0
    for begins, size, share in steps:
        if begins:
            if admission([bound], {"r": meter}, NOW, hard=True).outcome == "admit":
                meter = meter._replace(reserved=meter.reserved.plus(Amount(0, size, 1)))
                out.append(size)
                largest = max(largest, size)
        elif out:
            size = out.pop(0)
            used = Amount(0, size * share // 100, 1)
            meter = Meter(meter.used.plus(used), meter.reserved.minus(Amount(0, size, 1)))
        assert meter.used.tokens + meter.reserved.tokens < limit + max(1, largest)
