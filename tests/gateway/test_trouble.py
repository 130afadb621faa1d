"""Services that err, lie, break off or say nothing, and clients that go away: what is told, and what is counted."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agentd.config_tables import GatewaySettings
from agentd.gateway.handler import LONGEST_ERROR
from agentd.gateway.tickets import BYTES_PER_TOKEN
from agentd.practice.model import ScriptedModel
from agentd.store import spending
from agentd.store.connection import Store
from agentd.store.spending import Call
from tests.gateway.test_usage import STREAMS
from tests.gateway.world import (
    DIALECTS,
    PATHS,
    REAL_KEY,
    Run,
    a_run,
    error_of,
    inference,
    json_answer,
    request_body,
    serving,
    slow_answer,
    sse_answer,
    usage_body,
)

RESERVED_OUTPUT = 50


def body_of(dialect: str, *, stream: bool = False) -> dict[str, Any]:
    name = {"chat": "max_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}[dialect]
    more = {"stream_options": {"include_usage": True}} if dialect == "chat" and stream else {}
    return request_body(dialect, stream=stream, **{name: RESERVED_OUTPUT}, **more)


async def only_call(store: Store) -> Call:
    """The one row, once it is settled: within a moment of the answer's end."""
    for _ in range(200):
        found = spending.calls_of(store)
        if found and all(call.state == "settled" for call in found):
            break
        await asyncio.sleep(0.02)
    [call] = found
    assert call.state == "settled"
    return call


def assert_estimated(call: Call, body: Mapping[str, Any], store: Store) -> None:
    """What was reserved counts: unknown usage is not zero."""
    reserved = len(json.dumps(body).encode()) // BYTES_PER_TOKEN + 1
    assert (call.estimated, call.input_tokens, call.output_tokens) == (1, reserved, RESERVED_OUTPUT)
    meter = spending.all_meters(store)["run:run-1"]
    assert (meter.used.tokens, meter.reserved.tokens, meter.reserved.calls) == (reserved + RESERVED_OUTPUT, 0, 0)


SPENT = "You have reached your specified API usage limits. You will regain access on 2026-01-02 at 00:00 UTC."
ERRORS: list[tuple[int, dict[str, str], Any, int, str, str | None]] = [
    (429, {"retry-after": "7"}, {}, 529, "provider_rate_limited", "upstream"),
    (500, {}, {}, 502, "provider_internal_error", "upstream"),
    (529, {"retry-after": "3"}, {}, 502, "provider_internal_error", "upstream"),
    (401, {}, {"error": {"message": f"Incorrect API key provided: {REAL_KEY}"}}, 502, "provider_auth_error", "auth"),
    (403, {}, {}, 502, "provider_auth_error", "auth"),
    (307, {"location": "http://127.0.0.1:9/"}, {}, 502, "provider_error", "upstream"),
    (429, {"retry-after": "3600"}, {}, 429, "provider_quota_exhausted", "quota"),
    (429, {}, {"error": {"code": "insufficient_quota"}}, 429, "provider_quota_exhausted", "quota"),
    (429, {}, {"error": {"message": "You have hit your usage limit."}}, 429, "provider_quota_exhausted", "quota"),
    (402, {}, {}, 429, "provider_quota_exhausted", "quota"),
    (400, {}, {"error": {"message": "Your credit balance is too low"}}, 429, "provider_quota_exhausted", "quota"),
    (400, {}, {"error": {"message": SPENT}}, 429, "provider_quota_exhausted", "quota"),
    (400, {}, {"error": {"type": "budget_exceeded", "code": "400"}}, 429, "provider_quota_exhausted", "quota"),
    (429, {}, {"error": {"type": "budget_exceeded", "code": "429"}}, 429, "provider_quota_exhausted", "quota"),
    (
        403,
        {},
        {"error": {"message": "Key limit exceeded (monthly limit).", "code": 403}},
        429,
        "provider_quota_exhausted",
        "quota",
    ),
]


@pytest.mark.parametrize(("status", "headers", "body", "told", "code", "kind"), ERRORS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_error_of_the_service_is_told_as_the_gateways(
    store: Store, dialect: str, status: int, headers: dict[str, str], body: Any, told: int, code: str, kind: str
) -> None:
    with serving(json_answer(body, status, {"request-id": "req-7", **headers})) as service:
        async with a_run(store, inference(service.url)) as run:
            found, seen, text = await run.ask(PATHS[dialect], body_of(dialect))
            await asyncio.sleep(0)
            notices = list(run.notices)
    assert (found, error_of(dialect, text)["code"]) == (told, code)
    assert seen["request-id"] == "req-7"
    assert (seen["x-agentd-run"], seen["x-agentd-profile"]) == ("run-1", "build")
    retryable = kind == "upstream" and code != "provider_error"
    assert seen["x-agentd-retryable"] == str(retryable).lower()
    assert ("x-should-retry" in seen) == (kind in ("quota", "auth"))
    if "retry-after" in headers:
        assert seen["retry-after"] == headers["retry-after"]
    assert REAL_KEY not in f"{seen}{text!r}"
    [notice] = notices
    assert (notice.kind, notice.run_id, notice.verdict.scope) == (kind, "run-1", inference_credential())
    if kind == "quota":
        assert notice.verdict.retry_at is not None
    call = await only_call(store)
    assert (call.status, call.estimated, call.input_tokens, call.output_tokens, call.cost_usd) == (told, 0, 0, 0, 0.0)


def inference_credential() -> str:
    import hashlib

    return f"inference:{hashlib.sha256(REAL_KEY.encode()).hexdigest()[:8]}"


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "600"}, {}, 600),
        ({"retry-after": "Thu, 01 Jan 2026 02:00:00 GMT"}, {}, 7200),
        ({"anthropic-ratelimit-unified-reset": "1767229200"}, {"error": {"message": "usage limit"}}, 3600),
        ({}, {"error": {"type": "usage_limit_reached", "resets_in_seconds": 90}}, 90),
        ({}, {"error": {"type": "usage_limit_reached", "resets_at": 1767229200}}, 3600),
        ({}, {"error": {"code": "insufficient_quota"}}, 300),
        ({"retry-after": "1e300"}, {"error": {"code": "insufficient_quota"}}, 300),
        ({"retry-after": "99999999"}, {}, 8 * 86400),
        ({}, {"error": {"message": SPENT}}, 86400),
        ({}, {"error": {"message": SPENT.replace("2026-01-02", "2026-13-02")}}, 300),
        ({}, {"error": {"message": SPENT.replace("2026-01-02", "2025-12-01")}}, 300),
    ],
)
async def test_when_a_quota_is_there_again(store: Store, headers: dict[str, str], body: Any, seconds: int) -> None:
    with serving(json_answer(body, 429, headers)) as service:
        async with a_run(store, inference(service.url)) as run:
            _, seen, _ = await run.ask(PATHS["chat"], body_of("chat"))
            await asyncio.sleep(0)
            retry_at = run.notices[0].verdict.retry_at
    assert retry_at == store.clock.now() + timedelta(seconds=seconds)
    assert seen["retry-after"] == str(seconds)


async def test_an_error_about_the_request_is_passed_on_without_the_real_key(store: Store) -> None:
    said = {"error": {"message": f"bad field, usage limit; you sent {REAL_KEY}", "type": "invalid_request_error"}}
    with serving(json_answer(said, 422)) as service:
        async with a_run(store, inference(service.url)) as run:
            status, headers, body = await run.ask(PATHS["chat"], body_of("chat"))
            assert run.notices == []
    assert (status, headers["x-agentd-retryable"]) == (422, "false")
    assert json.loads(body)["error"]["message"] == "bad field, usage limit; you sent ***REDACTED***"
    assert (await only_call(store)).status == 422


async def test_an_error_that_comes_in_pieces_is_read_to_its_end(store: Store) -> None:
    body = json.dumps({"error": {"message": "so sorry", "code": "insufficient_quota"}}).encode()
    with serving(slow_answer(body, 429)) as service:
        async with a_run(store, inference(service.url)) as run:
            _, _, text = await run.ask(PATHS["chat"], request_body("chat"))
    assert error_of("chat", text)["code"] == "provider_quota_exhausted"


async def test_of_an_error_that_is_too_long_nothing_is_passed_on(store: Store) -> None:
    body = b" " * (LONGEST_ERROR - len(REAL_KEY) // 2) + REAL_KEY.encode() * 2
    with serving(slow_answer(body, 404)) as service:
        async with a_run(store, inference(service.url)) as run:
            status, _, text = await run.ask(PATHS["chat"], request_body("chat"))
    assert (status, text) == (404, b"")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_service_that_is_not_there_costs_nothing(store: Store, dialect: str) -> None:
    async with a_run(store, inference("http://127.0.0.1:9")) as run:
        status, headers, body = await run.ask(PATHS[dialect], body_of(dialect))
    assert (status, error_of(dialect, body)["code"]) == (502, "provider_connection_error")
    assert headers["x-agentd-retryable"] == "true"
    call = await only_call(store)
    assert (call.input_tokens, call.estimated) == (0, 0)


async def test_silence_is_ended_and_counted_as_reserved(store: Store) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with serving(silent) as service:
        async with a_run(store, inference(service.url), settings=GatewaySettings(timeout_seconds=0.3)) as run:
            body = body_of("chat")
            status, _, text = await run.ask(PATHS["chat"], body)
            assert (status, error_of("chat", text)["code"]) == (502, "provider_connection_error")
            assert await asyncio.to_thread(service.ended.wait, 5)
    assert_estimated(await only_call(store), body, store)


GARBAGE = (b"", b"data: {not json\n\n\x00\xff garbage", b'{"usage": {"prompt_tokens": -5}}', b"<html>")


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_garbage_passes_and_is_counted_as_reserved(
    store: Store, dialect: str, content_type: str, garbage: bytes
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=garbage, content_type=content_type)

    with serving(answer) as service:
        async with a_run(store, inference(service.url)) as run:
            body = body_of(dialect)
            status, _, text = await run.ask(PATHS[dialect], body)
    assert (status, text) == (200, garbage)
    assert_estimated(await only_call(store), body, store)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_input_that_the_service_did_not_count_is_estimated(store: Store, dialect: str) -> None:
    body = body_of(dialect)
    with serving(json_answer(usage_body(dialect, 0, 7))) as service:
        async with a_run(store, inference(service.url)) as run:
            await run.ask(PATHS[dialect], body)
    call = await only_call(store)
    wanted = len(json.dumps(body)) // BYTES_PER_TOKEN + 1
    assert (call.estimated, call.input_tokens, call.output_tokens) == (1, wanted, 7)


@pytest.mark.parametrize(("said", "tokens"), [({"usage": {"prompt_tokens": 10, "completion_tokens": 2}}, 12), ({}, 50)])
async def test_every_status_of_success_is_an_answer(store: Store, said: dict[str, Any], tokens: int) -> None:
    """Some frameworks answer every POST with 201."""
    with serving(json_answer(said, status=201)) as service:
        async with a_run(store, inference(service.url)) as run:
            status, _, text = await run.ask(PATHS["chat"], body_of("chat"))
    assert (status, json.loads(text)) == (201, said)
    call = await only_call(store)
    assert (call.status, call.estimated) == (201, 0 if said else 1)
    assert call.input_tokens + call.output_tokens >= tokens


@pytest.mark.parametrize(("status", "told"), [(408, 408), (504, 502), (524, 502)])
async def test_a_model_that_somebody_waited_for_too_long_is_counted_as_reserved(
    store: Store, status: int, told: int
) -> None:
    body = body_of("chat")
    with serving(json_answer({}, status)) as service:
        async with a_run(store, inference(service.url)) as run:
            assert (await run.ask(PATHS["chat"], body))[0] == told
    call = await only_call(store)
    assert call.status == told
    assert_estimated(call, body, store)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(store: Store, dialect: str) -> None:
    half = STREAMS[dialect][: len(STREAMS[dialect]) // 3]
    body = body_of(dialect, stream=True)
    with serving(sse_answer(half, cut=True)) as service:
        async with a_run(store, inference(service.url)) as run:
            with pytest.raises(aiohttp.ClientPayloadError):
                await run.ask(PATHS[dialect], body)
    call = await only_call(store)
    assert call.status == 502
    assert call.estimated == 1
    assert call.input_tokens + call.output_tokens >= RESERVED_OUTPUT


async def start_and_leave(run: Run, body: dict[str, Any]) -> None:
    """Ask, read the first piece, and hang up."""
    headers = {"authorization": f"Bearer {run.access.key}"}
    url = f"http://127.0.0.1:{run.access.port}{PATHS['messages']}"
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url, json=body, headers=headers)
        assert await answer.content.readany()
        answer.close()


async def test_a_client_that_leaves_in_the_middle_ends_the_call_upstream(store: Store) -> None:
    start = STREAMS["messages"].split(b"\n\n")[0] + b"\n\n"
    body = body_of("messages", stream=True)
    with serving(sse_answer(start, hang=True)) as service:
        async with a_run(store, inference(service.url)) as run:
            await start_and_leave(run, body)
            assert await asyncio.to_thread(service.ended.wait, 5)
            call = await only_call(store)
            assert call.status == 499
            # The beginning told 100 tokens of input, more than was reserved for them.
            assert (call.estimated, call.input_tokens, call.output_tokens) == (1, 100, RESERVED_OUTPUT)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_a_stream_has_said_is_counted_where_less_was_reserved(store: Store, dialect: str) -> None:
    """A call need not say how much it wants, and its client may hang up just before the usage comes."""
    piece = b'event: delta\ndata: {"choices": [{"delta": {"content": "word "}}]}\n\n'
    body = body_of(dialect, stream=True)
    with serving(sse_answer(piece * 300, hang=True)) as service:
        async with a_run(store, inference(service.url)) as run:
            headers = {"authorization": f"Bearer {run.access.key}"}
            url = f"http://127.0.0.1:{run.access.port}{PATHS[dialect]}"
            answer = await run.session.post(url, json=body, headers=headers)
            await answer.content.readexactly(300 * len(piece))
            answer.close()
            call = await only_call(store)
    assert (call.estimated, call.output_tokens) == (1, 300)


async def test_a_client_that_is_gone_is_no_trouble_of_the_service(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be found out when the next piece is written, before anything is cancelled."""

    async def gone(*_: Any) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=STREAMS["chat"][:20], content_type="text/event-stream")

    monkeypatch.setattr(web.StreamResponse, "write", gone)
    with serving(answer) as service:
        async with a_run(store, inference(service.url)) as run:
            with pytest.raises(aiohttp.ClientError):
                await run.ask(PATHS["chat"], body_of("chat", stream=True))
            call = await only_call(store)
            await asyncio.sleep(0)
            assert run.notices == []
    assert (call.status, call.estimated) == (499, 1)


async def test_a_client_that_leaves_before_the_answer_ends_the_call_upstream(store: Store) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def silent(request: web.Request) -> web.StreamResponse:
        loop.call_soon_threadsafe(asked.set)
        await asyncio.Event().wait()
        raise AssertionError

    body = body_of("messages")
    with serving(silent) as service:
        async with a_run(store, inference(service.url)) as run:
            task = asyncio.create_task(run.ask(PATHS["messages"], body))
            await asyncio.wait_for(asked.wait(), 30)
            task.cancel()
            assert await asyncio.to_thread(service.ended.wait, 5)
            assert_estimated(await only_call(store), body, store)


async def test_the_end_of_a_run_ends_its_calls_and_settles_them(store: Store) -> None:
    body = body_of("messages", stream=True)
    with serving(sse_answer(b": hello\n\n", hang=True)) as service:
        async with a_run(store, inference(service.url)) as run:
            headers = {"authorization": f"Bearer {run.access.key}"}
            url = f"http://127.0.0.1:{run.access.port}{PATHS['messages']}"
            answer = await run.session.post(url, json=body, headers=headers)
            assert await answer.content.readany()
        # No wait here: it is settled when the run's door is closed.
        [call] = spending.calls_of(store)
        assert call.state == "settled"
        assert service.ended.wait(5)
    assert_estimated(call, body, store)


@pytest.mark.parametrize("step", [{"disconnect": True}, {"status": 500}, {"garbage": True}])
async def test_a_scripted_fault_is_followed_by_a_good_answer(store: Store, step: dict[str, Any]) -> None:
    with ScriptedModel() as model:
        model.script("steps", [step, {"text": "fine"}])
        async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
            await run.ask(PATHS["responses"], body_of("responses"))
            status, _, body = await run.ask(PATHS["responses"], body_of("responses"))
    assert status == 200
    assert b"fine" in body
    assert [call.state for call in spending.calls_of(store)] == ["settled"] * 2


async def test_what_the_store_does_not_take_now_is_counted_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentd.store.spending.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(tmp_path / "state" / "agentd.db", isolation_level=None, check_same_thread=False)

    async def answer(request: web.Request) -> web.StreamResponse:
        other.execute("BEGIN IMMEDIATE")
        return web.json_response({"usage": {"prompt_tokens": 7, "completion_tokens": 3}})

    with serving(answer) as service:
        async with a_run(store, inference(service.url)) as run:
            assert (await run.ask(PATHS["chat"], body_of("chat")))[0] == 200
            await asyncio.sleep(0.5)
            assert [call.state for call in spending.calls_of(store)] == ["open"]
            other.rollback()
            call = await only_call(store)
    other.close()
    assert (call.input_tokens, call.output_tokens, call.estimated) == (7, 3, 0)
    assert spending.all_meters(store)["run:run-1"].reserved.calls == 0
