"""Budgets at work: never more than one call over a limit, whoever asks at the same time; switched while all runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from agentd.config_tables import GatewaySettings, Price
from agentd.gateway.service import Grant
from agentd.policy.budget_settings import Budgets, Limits
from agentd.policy.budgets import Amount, Meter
from agentd.store import spending
from agentd.store.connection import Store
from tests.gateway.world import (
    DIALECTS,
    PATHS,
    Answer,
    Run,
    a_run,
    error_of,
    inference,
    json_answer,
    request_body,
    serving,
    usage_body,
)

GRANT = Grant("run-1", "P0-01", "build")
TOKENS = 100
"""What each call of these tests uses."""
PRICED = GatewaySettings(prices={"practice": Price(input=1, output=1)})


def slow_answer(seconds: float) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.json_response(usage_body("chat", 60, 40))

    return answer


@asynccontextmanager
async def limited(
    store: Store, seconds: float = 0.0, settings: GatewaySettings | None = None, **budgets: object
) -> AsyncIterator[tuple[Run, list[object]]]:
    """A run with these budgets, and the requests that come through."""
    with serving(slow_answer(seconds)) as service:
        async with a_run(
            store, inference(service.url), budgets=Budgets.model_validate(budgets), settings=settings
        ) as run:
            yield run, service.requests  # type: ignore[misc]  # only counted


def chat(max_tokens: int = 40) -> dict[str, object]:
    return request_body("chat", max_tokens=max_tokens)


def used(store: Store, scope: str = "run:run-1") -> Meter:
    return spending.all_meters(store)[scope]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_exhausted_run_is_told_in_its_dialect_not_to_try_again(store: Store, dialect: str) -> None:
    with serving(json_answer(usage_body(dialect, 60, 40))) as service:
        async with a_run(store, inference(service.url), budgets=Budgets(run=Limits(calls=1))) as run:
            assert (await run.ask(PATHS[dialect], request_body(dialect)))[0] == 200
            status, headers, body = await run.ask(PATHS[dialect], request_body(dialect))
            notices = list(run.notices)
    assert status == 429
    assert (headers["retry-after"], headers["x-should-retry"], headers["x-agentd-retryable"]) == (
        "3600",
        "false",
        "false",
    )
    assert error_of(dialect, body)["code"] == "budget_exceeded"
    assert len(service.requests) == 1
    [notice] = [each for each in notices if each.kind == "hard"]
    assert (notice.run_id, notice.verdict.rule_id, notice.verdict.scope) == ("run-1", "budget_run_calls", "run:run-1")


async def test_parallel_calls_go_over_a_token_limit_by_one_call_at_most(store: Store) -> None:
    """64 calls at a time, with room for five: those that find none wait until others give back what they reserved."""
    settings = GatewaySettings(wait_seconds=20)
    async with limited(store, 0.02, settings, run={"tokens": 5 * TOKENS, "calls": 0}) as (run, requests):
        answers = await asyncio.gather(*(run.ask(PATHS["chat"], chat()) for _ in range(64)))
    statuses = [status for status, _, _ in answers]
    meter = used(store)
    assert meter.used.tokens == TOKENS * statuses.count(200)
    assert 5 * TOKENS <= meter.used.tokens < 6 * TOKENS
    assert set(statuses) == {200, 429}
    assert len(requests) == statuses.count(200) == meter.used.calls == 5
    assert meter.reserved == Amount()


@pytest.mark.parametrize("least", ["max_tokens", "max_completion_tokens"])
async def test_of_two_limits_of_the_output_the_larger_is_reserved(store: Store, least: str) -> None:
    """An answer without a usage is counted as it was reserved."""
    body = request_body("chat", max_tokens=700, max_completion_tokens=700) | {least: 1}
    with serving(json_answer({})) as service:
        async with a_run(store, inference(service.url)) as run:
            await run.ask(PATHS["chat"], body)
    [call] = spending.calls_of(store)
    assert call.output_tokens == 700


async def test_parallel_calls_are_never_more_than_the_limit_of_calls(store: Store) -> None:
    async with limited(store, 0.02, run={"tokens": 0, "calls": 7}) as (run, requests):
        answers = await asyncio.gather(*(run.ask(PATHS["chat"], chat()) for _ in range(40)))
    assert [status for status, _, _ in answers].count(200) == len(requests) == 7


async def test_two_gateways_on_one_store_share_a_limit(store: Store) -> None:
    budgets = Budgets(day=Limits(calls=9))
    with serving(slow_answer(0.02)) as service:
        async with (
            a_run(store, inference(service.url), budgets=budgets) as one,
            a_run(store, inference(service.url), budgets=budgets, grant=replace(GRANT, run_id="run-2")) as two,
        ):
            asked = [run.ask(PATHS["chat"], chat()) for run in (one, two) * 15]
            statuses = [status for status, _, _ in await asyncio.gather(*asked)]
    assert statuses.count(200) == len(service.requests) == 9
    assert used(store, "day:2026-01-01").used.calls == 9


async def test_a_call_that_finds_no_room_in_time_may_be_tried_again(store: Store) -> None:
    settings = GatewaySettings(wait_seconds=0.1)
    async with limited(store, 0.8, settings, run={"tokens": 50, "calls": 0}) as (run, _):
        first = asyncio.create_task(run.ask(PATHS["chat"], chat(1)))
        while not spending.all_meters(store):
            await asyncio.sleep(0.01)
        status, headers, body = await run.ask(PATHS["chat"], chat(1))
        assert (status, error_of("chat", body)["code"]) == (429, "budget_busy")
        assert "x-should-retry" not in headers
        assert (headers["x-agentd-retryable"], headers["retry-after"]) == ("true", "5")
        assert (await first)[0] == 200
        assert not [notice for notice in run.notices if notice.kind == "hard"]


async def test_a_day_ends_at_midnight_of_utc(store: Store) -> None:
    with serving(slow_answer(0)) as service:
        budgets, grant = Budgets(day=Limits(calls=1)), replace(GRANT, seconds=7 * 86_400)
        async with a_run(store, inference(service.url), budgets=budgets, grant=grant) as run:
            told = []
            for seconds in (0, 0, 86_390, 10, 0):
                store.clock.pass_seconds(seconds)  # type: ignore[attr-defined]  # the tests' clock
                status, headers, _ = await run.ask(PATHS["chat"], chat())
                told.append((status, headers.get("retry-after")))
    assert told == [(200, None), (429, "86400"), (429, "10"), (200, None), (429, "86400")]
    assert used(store, "day:2026-01-01").used.calls == used(store, "day:2026-01-02").used.calls == 1


async def test_money_is_limited_by_the_price_list(store: Store) -> None:
    async with limited(store, 0, PRICED, run={"usd": 0.00025}) as (run, _):
        statuses = [(await run.ask(PATHS["chat"], chat()))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert [call.cost_usd for call in spending.calls_of(store)] == [0.0001] * 3
    assert used(store).used.nano_usd == 300_000


async def test_a_model_without_a_price_is_refused_where_money_is_limited(store: Store) -> None:
    async with limited(store, task={"usd": 5}) as (run, requests):
        status, _, body = await run.ask(PATHS["chat"], chat())
        assert (status, error_of("chat", body)["code"]) == (400, "budget_no_price")
        assert '[gateway.prices."practice"]' in json.loads(body)["error"]["message"]
        assert requests == []
        assert run.notices[0].verdict.rule_id == "budget_no_price"
        spending.set_enforcement(store, False)
        assert (await run.ask(PATHS["chat"], chat()))[0] == 200
    assert spending.calls_of(store)[0].cost_usd is None


async def test_a_warning_is_told_once_a_scope(store: Store) -> None:
    async with limited(store, run={"calls": 10, "tokens": 900}, profile={"tokens": 900}) as (run, _):
        for _ in range(9):
            assert (await run.ask(PATHS["chat"], chat()))[0] == 200
        await run.gateway._hall.writer.flush()  # type: ignore[union-attr]  # open here
        await asyncio.sleep(0)
        told = [(notice.kind, notice.verdict.rule_id) for notice in run.notices]
    assert sorted(told) == [("soft", "budget_profile_tokens"), ("soft", "budget_run_tokens")]


async def test_limits_are_switched_while_all_runs(store: Store) -> None:
    async with limited(store, run={"calls": 1}) as (run, _):
        statuses = []
        for on in (None, True, False, False, True):
            if on is not None:
                spending.set_enforcement(store, on)
            statuses.append((await run.ask(PATHS["chat"], chat()))[0])
        await asyncio.sleep(0)
        told = [(notice.kind, notice.verdict.rule_id) for notice in run.notices]
    assert statuses == [200, 429, 200, 200, 429]
    # At the limit once more when limits only warn: it is over, and nobody is stopped.
    assert told.count(("soft", "budget_run_calls")) == 2


async def test_limits_that_only_warn_by_the_settings(store: Store) -> None:
    async with limited(store, hard_limits_enabled=False, run={"calls": 1}) as (run, _):
        assert [(await run.ask(PATHS["chat"], chat()))[0] for _ in range(3)] == [200] * 3
        spending.set_enforcement(store, True)
        assert (await run.ask(PATHS["chat"], chat()))[0] == 429


async def test_a_client_that_leaves_while_it_waits_for_room_keeps_none(store: Store) -> None:
    async with limited(store, 1.0, run={"tokens": 150, "calls": 0}) as (run, requests):
        first = asyncio.create_task(run.ask(PATHS["chat"], chat(150)))
        while not spending.all_meters(store):
            await asyncio.sleep(0.01)
        second = asyncio.create_task(run.ask(PATHS["chat"], chat(150)))
        await asyncio.sleep(0.3)
        second.cancel()
        await first
        await asyncio.sleep(0.5)  # as long as it would take to be let out
    assert len(requests) == 1
    assert all(call.state == "settled" for call in spending.calls_of(store))
    assert used(store).reserved == Amount()
    assert used(store).used.tokens == TOKENS
