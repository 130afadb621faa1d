"""The gateway by itself: killed, shared by several, on PostgreSQL, with many clients, and its command line."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agentd.clock import SystemClock
from agentd.policy.budgets import Amount
from agentd.store import spending
from agentd.store.connection import Store, open_store
from tests import postgres
from tests.gateway.alone import Place
from tests.gateway.world import (
    PATHS,
    REAL_KEY,
    Service,
    inference,
    json_answer,
    request_body,
    serving,
    sse_answer,
    usage_body,
)

needs_postgres = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")
MANY, CLIENTS = 1000, 32


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the store is; empty for a SQLite file."""
    if request.param == "sqlite":
        yield ""
        return
    with postgres.server(tmp_path) as address:
        yield postgres.database(address, "agentd")


def opened(place: Place, database: str) -> Store:
    return open_store(database, place.folder / "state", SystemClock())


async def ask(url: str, key: str, body: Any, path: str = PATHS["chat"]) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session:
        return await ask_with(session, url, key, body, path)


async def ask_with(session: aiohttp.ClientSession, url: str, key: str, body: Any, path: str) -> tuple[int, bytes]:
    async with session.post(f"{url}{path}", json=body, headers={"authorization": f"Bearer {key}"}) as answer:
        return answer.status, await answer.read()


async def begin(url: str, key: str, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    """A call that is on its way."""
    body = request_body("messages", stream=True)
    answer = await session.post(f"{url}{PATHS['messages']}", json=body, headers={"authorization": f"Bearer {key}"})
    assert await answer.content.readany()
    return answer


async def test_a_killed_gateway_forgets_no_call(tmp_path: Path, database: str) -> None:
    with serving(sse_answer(b": wait\n\n", hang=True)) as service:
        place = Place(tmp_path, inference(service.url) | {"AGENTD_DATABASE_URL": database})
        key = place.key()
        store = opened(place, database)
        with place.serving() as (url, process):
            async with aiohttp.ClientSession() as session:
                await begin(url, key, session)
                process.kill()
                process.wait()
        [call] = spending.calls_of(store)
        assert call.state == "open"
        meter = spending.all_meters(store)["run:run-1"]
        assert (meter.used, meter.reserved) == (Amount(), call.amount)
        assert meter.reserved.tokens > 50
        # Whoever comes next on this machine counts it as used.
        with place.serving():
            pass
        [after] = spending.calls_of(store)
        assert (after.state, after.estimated, after.amount) == ("settled", 1, call.amount)
        meter = spending.all_meters(store)["run:run-1"]
        assert (meter.used, meter.reserved) == (call.amount, Amount())
        store.close()


async def test_a_gateway_that_was_taken_for_dead_puts_the_books_right(tmp_path: Path, database: str) -> None:
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        loop.call_soon_threadsafe(answered.set)
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        return web.json_response(usage_body("chat", 60, 40))

    with serving(late) as service:
        place = Place(tmp_path, inference(service.url) | {"AGENTD_DATABASE_URL": database})
        key = place.key()
        store = opened(place, database)
        with place.serving() as (url, process):
            task = asyncio.create_task(ask(url, key, request_body("chat")))
            await asyncio.wait_for(answered.wait(), 10)
            process.send_signal(signal.SIGSTOP)
            # Nothing is heard of it for longer than its lease, as another gateway sees it.
            with store.write() as connection:
                connection.exec_driver_sql("UPDATE gateways SET deadline = 0")
            with place.serving():
                pass
            [call] = spending.calls_of(store)
            assert (call.state, call.estimated) == ("settled", 1)
            process.send_signal(signal.SIGCONT)
            go_on.set()
            assert (await task)[0] == 200
        [call] = spending.calls_of(store)
        assert (call.input_tokens, call.output_tokens, call.estimated) == (60, 40, 0)
        meter = spending.all_meters(store)["run:run-1"]
        assert (meter.used, meter.reserved) == (Amount(tokens=100, calls=1), Amount())
        store.close()


async def test_a_living_gateways_calls_are_its_own(tmp_path: Path, database: str) -> None:
    with serving(sse_answer(b": wait\n\n", hang=True)) as service:
        place = Place(tmp_path, inference(service.url) | {"AGENTD_DATABASE_URL": database})
        key = place.key()
        store = opened(place, database)
        with place.serving() as (url, _):
            async with aiohttp.ClientSession() as session:
                answer = await begin(url, key, session)
                with place.serving():
                    pass
                assert spending.calls_of(store)[0].state == "open"
                answer.close()
        assert spending.calls_of(store)[0].state == "settled"
        store.close()


async def test_every_one_of_many_calls_is_counted_by_two_gateways_on_one_store(tmp_path: Path, database: str) -> None:
    """The sums are those of the service's own log."""
    told: list[tuple[int, int]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        number = len(told) + 1
        told.append((number, number % 97 + 1))
        return web.json_response(usage_body("chat", *told[-1]))

    with serving(answer) as service:
        place = Place(tmp_path, inference(service.url) | {"AGENTD_DATABASE_URL": database})
        key = place.key()
        store = opened(place, database)
        with place.serving() as (one, _), place.serving() as (two, _):
            await flood((one, two), key, MANY)
        calls = spending.calls_of(store)
        assert (len(calls), len(told)) == (MANY, MANY)
        assert sorted((call.input_tokens, call.output_tokens) for call in calls) == sorted(told)
        assert all(call.state == "settled" and not call.estimated for call in calls)
        tokens = sum(sum(each) for each in told)
        for scope in ("run:run-1", "profile:build", "global:all"):
            meter = spending.all_meters(store)[scope]
            assert (meter.used, meter.reserved) == (Amount(tokens=tokens, calls=MANY), Amount())
        store.close()


async def flood(urls: tuple[str, ...], key: str, many: int) -> None:
    """So many calls by CLIENTS clients, each address in turn."""
    numbers = iter(range(many))

    async def client(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            status, body = await ask_with(session, urls[number % len(urls)], key, request_body("chat"), PATHS["chat"])
            assert status == 200, body

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(json_answer(usage_body("chat", 60, 40))) as running:
        yield running


async def test_the_command_line_from_key_to_revocation(tmp_path: Path, service: Service) -> None:
    place = Place(tmp_path, inference(service.url), "[budgets.run]\ncalls = 3\n")
    made = json.loads(
        place.agentd("gateway", "key", "--run", "hand", "--profile", "build", "--hours", "1", "--json").stdout
    )
    assert made["key"].startswith("avk_hand_")
    with place.serving() as (url, process):
        assert (await ask(url, made["key"], request_body("chat")))[0] == 200
        shown = json.loads(place.agentd("budget", "--json").stdout)
        rows = {row["scope"]: row for row in shown["meters"]}
        assert shown["enforced"] is True
        assert rows["run:hand"]["used"] == {"usd": 0.0, "tokens": 100, "calls": 1}
        assert rows["run:hand"]["limits"] == {"tokens": 20_000_000, "calls": 3}
        statuses = [(await ask(url, made["key"], request_body("chat")))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert place.agentd("budget", "enforce", "off").stdout == "limits only warn\n"
        assert (await ask(url, made["key"], request_body("chat")))[0] == 200
        assert "only warn" in place.agentd("budget").stdout
        assert place.agentd("gateway", "revoke", "--run", "hand").stdout == "hand: 1 key revoked\n"
        assert (await ask(url, made["key"], request_body("chat")))[0] == 401
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/metrics") as answer:
                metrics = await answer.text()
            async with session.get(f"{url}/healthz") as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out.splitlines()[-1], err) == (0, "stopped", "")
    labels = 'dialect="chat",estimated="false",status="200",upstream="inference"'
    assert f"agentd_gateway_calls_total{{{labels}}} 4.0" in metrics
    assert 'agentd_gateway_tokens_total{dialect="chat",kind="input",upstream="inference"} 240.0' in metrics
    assert 'agentd_gateway_refusals_total{rule="budget_run_calls"} 1.0' in metrics
    assert 'agentd_gateway_refusals_total{rule="invalid_api_key"} 1.0' in metrics
    assert "agentd_gateway_in_flight 0.0" in metrics
    assert 'agentd_gateway_call_seconds_count{dialect="chat"} 4.0' in metrics
    assert "hand" not in metrics
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir() if file.is_file())
    assert made["key"].encode() not in kept
    assert REAL_KEY not in f"{out}{err}{metrics}"


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (("gateway", "serve", "--host", "0.0.0.0"), {}, "--host 0.0.0.0: others may reach"),
        (
            ("gateway", "serve", "--host", "192.0.2.1", "--allow-remote"),
            {"OPENAI_API_KEY": "k"},
            "cannot listen at 192.0.2.1",
        ),
        (("gateway", "serve"), {}, "no model service: set ANTHROPIC_API_KEY"),
        (("gateway", "serve"), {"OPENAI_BASE_URL": "nowhere"}, "OPENAI_BASE_URL: must begin with"),
        (("gateway", "key", "--run", "x", "--profile", "nobody"), {}, "profile 'nobody' is not defined"),
        (("gateway", "key", "--run", "", "--profile", "build"), {}, "--run: must be a name"),
        (("gateway", "revoke", "--run", "nobody"), {}, "nobody: has no key"),
        (("budget", "enforce", "maybe"), {}, "say on or off, not 'maybe'"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, words: tuple[str, ...], environ: dict[str, str], said: str) -> None:
    done = Place(tmp_path, environ).agentd(*words, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, service: Service) -> None:
    place = Place(tmp_path, inference(service.url))
    done = place.agentd("gateway", "serve", "--port", str(service.port), check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"cannot listen at 127.0.0.1:{service.port}" in done.stderr


def test_budget_without_a_store_shows_nothing_and_makes_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, {})
    assert json.loads(place.agentd("budget", "--json").stdout) == {"enforced": True, "meters": []}
    assert not (tmp_path / "state").exists()
