"""Calls through the gateway with a scripted model: bytes unchanged, usage right, keys good for one run only."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agentd.config_tables import GatewaySettings
from agentd.errors import ConfigurationError
from agentd.gateway.free_calls import LONGEST_ANSWER
from agentd.gateway.grants import extra_hash, make_key
from agentd.gateway.service import Gateway, Grant, upstreams_of
from agentd.policy.budget_settings import Budgets
from agentd.practice.model import ScriptedModel
from agentd.store import spending
from agentd.store.connection import Store
from tests.conftest import TurnedClock
from tests.gateway.test_usage import STREAMS
from tests.gateway.world import (
    DIALECTS,
    PATHS,
    REAL_KEY,
    a_run,
    error_of,
    inference,
    json_answer,
    request_body,
    serving,
    slow_answer,
)

GRANT = Grant("run-1", "P0-01", "build")
USAGE = {"input": 1234, "output": 56, "cached": 34, "reasoning": 5}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        running.script(
            "steps", [{"shell": "ls", "say": "Looking.", "thinking": "hm", "usage": USAGE}, {"text": "done"}]
        )
        yield running


async def directly(base: str, path: str, body: dict[str, Any]) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(f"{base}{path}", json=body) as answer:
        return await answer.read()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_bytes_pass_unchanged_and_usage_is_counted(
    store: Store, model: ScriptedModel, dialect: str, stream: bool
) -> None:
    more = {"stream_options": {"include_usage": True}} if dialect == "chat" and stream else {}
    body = request_body(dialect, stream=stream, **more)
    expected = await directly(model.base_url("direct", "steps"), PATHS[dialect], body)
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        status, headers, answer = await run.ask(PATHS[dialect], body)
    assert status == 200
    # The practice model numbers its answers; nothing else differs.
    assert answer == expected.replace(b"practice1", b"practice2")
    assert headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert (headers["x-agentd-run"], headers["x-agentd-profile"]) == ("run-1", "build")
    [call] = spending.calls_of(store)
    reasoning = 0 if dialect == "messages" else 5
    assert (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens) == (
        1234,
        56,
        34,
        reasoning,
    )
    assert (call.state, call.status, call.estimated, call.dialect, call.model) == (
        "settled",
        200,
        0,
        dialect,
        "practice",
    )
    assert (call.run_id, call.task_id, call.profile, call.upstream) == ("run-1", "P0-01", "build", "inference")
    assert call.nano_usd is None
    for scope in (
        "run:run-1",
        "task:P0-01",
        "profile:build",
        "model:practice",
        "profile_model:build+practice",
        "global:all",
    ):
        meter = spending.all_meters(store)[scope]
        assert (meter.used.tokens, meter.used.calls, meter.reserved.tokens, meter.reserved.calls) == (1290, 1, 0, 0)


async def test_usage_is_asked_for_where_a_chat_client_did_not(store: Store, model: ScriptedModel) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        await run.ask(PATHS["chat"], request_body("chat", stream=True, stream_options={"other": 1}))
    assert model.requests("r1")[0].body["stream_options"] == {"other": 1, "include_usage": True}
    assert spending.calls_of(store)[0].input_tokens == 1234


@pytest.mark.parametrize("extra", [{}, {"seed": 7}])
@pytest.mark.parametrize("status", [400, 422])
async def test_a_service_that_cannot_tell_the_usage_of_a_stream_is_asked_without(
    store: Store, status: int, extra: dict[str, Any]
) -> None:
    """It is counted as reserved then. Whoever asks by itself gets the service's own answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "stream_options" in await request.json():
            return web.json_response({"detail": [{"loc": ["body", "stream_options"]}]}, status=status)
        return web.Response(body=b"data: [DONE]\n\n", content_type="text/event-stream")

    wanted = request_body("chat", stream=True, max_tokens=50)
    asking = wanted | {"stream_options": {"include_usage": True}}
    with serving(answer) as service:
        async with a_run(store, inference(service.url), grant=replace(GRANT, request_extra=extra)) as run:
            assert (await run.ask(PATHS["chat"], wanted))[0] == 200
            assert (await run.ask(PATHS["chat"], asking))[0] == status
    assert [json.loads(body) for _, _, body in service.requests] == [asking | extra, wanted | extra, asking | extra]
    plain, failed = spending.calls_of(store)
    assert (plain.status, plain.estimated, plain.output_tokens) == (200, 1, 50)
    assert (failed.status, failed.estimated, failed.output_tokens) == (status, 0, 0)


async def test_what_an_adviser_said_is_counted_and_charged_as_its_model(store: Store) -> None:
    """Anthropic tells it in a list beside the usage, as it does what making the conversation shorter took."""
    tokens = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 10_000}
    usage = {
        **tokens,
        "iterations": [
            {"type": "compaction", "input_tokens": 5000, "output_tokens": 50},
            {"type": "message", **tokens},
            {"type": "advisor_message", "model": "claude-opus-4-6", "input_tokens": 2000, "output_tokens": 200},
            {"type": "advisor_message", "model": "unknown", "input_tokens": 1, "output_tokens": 0},
        ],
    }
    with serving(json_answer({"usage": usage})) as service:
        async with a_run(store, inference(service.url)) as run:
            await run.ask(PATHS["messages"], request_body("messages", model="claude-haiku-4-5"))
    [call] = spending.calls_of(store)
    assert (call.input_tokens, call.output_tokens, call.cached_tokens) == (11_000 + 5000 + 2000 + 1, 350, 10_000)
    haiku = 1_000 * (1000 + 10_000 // 10 + 5000 + 1) + 5_000 * 150
    assert call.nano_usd == haiku + 5_000 * 2000 + 25_000 * 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "text/event-stream"])
async def test_a_stream_is_read_whatever_the_service_calls_it(store: Store, content_type: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=STREAMS["chat"], headers={"content-type": content_type})

    with serving(answer) as service:
        async with a_run(store, inference(service.url)) as run:
            _, headers, text = await run.ask(PATHS["chat"], request_body("chat", stream=True))
    assert (headers["content-type"], text) == (content_type, STREAMS["chat"])
    [call] = spending.calls_of(store)
    assert (call.estimated, call.input_tokens, call.output_tokens) == (0, 100, 20)


async def test_the_request_goes_out_byte_by_byte_as_it_came(store: Store) -> None:
    raw = b'{"messages" : [ ], "max_tokens":7,\n "model":"m", "x": 1.50, "y": "\\u00e4"}'
    with serving(json_answer({"usage": {"input_tokens": 3, "output_tokens": 4}})) as service:
        async with a_run(store, inference(service.url)) as run:
            status, _, _ = await run.ask("/v1/messages?beta=true&api_key=no", raw)
    assert status == 200
    assert [(path, body) for path, _, body in service.requests] == [("/v1/messages?beta=true", raw)]


async def test_no_credential_of_the_client_goes_out_and_the_real_one_never_comes_back(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaked = {"x-echo": REAL_KEY, "set-cookie": "a=b", "x-fine": "1"}
    with serving(json_answer({"usage": {"input_tokens": 3, "output_tokens": 4}}, headers=leaked)) as service:
        async with a_run(store, inference(service.url)) as run:
            key = run.access.key
            sent = {
                "x-api-key": key,
                "cookie": f"k={key}",
                "x-goog-api-key": "g",
                "openai-organization": "o",
                "x-other": key,
            }
            status, headers, body = await run.ask(PATHS["chat"], request_body("chat"), headers={**sent, "x-plain": "1"})
    _, seen, _ = service.requests[0]
    assert status == 200
    assert key not in str(service.requests)
    assert (seen["authorization"], seen["x-plain"]) == (f"Bearer {REAL_KEY}", "1")
    assert not {"cookie", "x-goog-api-key", "openai-organization", "x-other"} & seen.keys()
    assert seen["x-api-key"] == REAL_KEY
    assert headers["x-fine"] == "1"
    assert REAL_KEY not in f"{headers}{body!r}{caplog.text}"
    assert "set-cookie" not in headers
    stored = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())
    assert REAL_KEY.encode() not in stored
    assert key.encode() not in stored
    assert key.rpartition("_")[2].encode() not in stored


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_that_is_none_is_401_in_the_dialect(store: Store, model: ScriptedModel, dialect: str) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        good = run.access.key
        wrong = ["", "x", "avk_run-1_short", make_key("run-1"), good[:-1] + ("A" if good[-1] != "A" else "B"), REAL_KEY]
        for key in wrong:
            for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key, "authorization": "Basic x"}):
                status, told, body = await run.ask(PATHS[dialect], request_body(dialect), headers=headers)
                assert status == 401
                assert error_of(dialect, body)["code"] == "invalid_api_key"
                assert told["x-agentd-retryable"] == "false"
        for headers in ({"x-api-key": good, "authorization": ""}, {"authorization": f"bearer {good}"}):
            assert (await run.ask(PATHS[dialect], request_body(dialect), headers=headers))[0] == 200
    assert len(model.requests("r1")) == spending.count_calls(store) == 2


async def test_an_expired_or_revoked_key_is_401(store: Store, model: ScriptedModel, clock: TurnedClock) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps")), grant=replace(GRANT, seconds=60)) as run:
        assert (await run.ask(PATHS["chat"], request_body("chat")))[0] == 200
        clock.pass_seconds(61)
        assert (await run.ask(PATHS["chat"], request_body("chat")))[0] == 401
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        assert spending.revoke(store, run_id="run-1") == 1
        for path in (PATHS["chat"], "/v1/models"):
            body = request_body("chat") if path != "/v1/models" else None
            assert (await run.ask(path, body))[0] == 401
    assert len(model.requests("r1")) == 1


async def test_the_key_is_revoked_and_the_door_closed_at_the_end(store: Store, model: ScriptedModel) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        port = run.access.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert spending.revoke(store, run_id="run-1") == 0


@pytest.mark.parametrize("unix", [True, False])
async def test_a_key_is_good_at_its_own_door_only(
    store: Store, model: ScriptedModel, tmp_path: Path, unix: bool
) -> None:
    settings = GatewaySettings()
    upstreams = upstreams_of(inference(model.base_url("r1", "steps")), settings)
    gateway = Gateway(store, upstreams, Budgets(), settings)
    places = [tmp_path / "one.sock", tmp_path / "two.sock"] if unix else [None, None]
    async with (
        gateway.opened(GRANT, print, places[0]) as one,
        gateway.opened(replace(GRANT, run_id="run-2"), print, places[1]) as two,
    ):
        with gateway.serving("127.0.0.1", 0) as public:
            statuses = []
            for place, port in ((places[0], one.port), (places[1], two.port), (None, public)):
                for key in (one.key, two.key):
                    connector = aiohttp.UnixConnector(str(place)) if place else None
                    async with aiohttp.ClientSession(connector=connector) as session:
                        url = f"http://127.0.0.1:{port or 80}{PATHS['chat']}"
                        headers = {"authorization": f"Bearer {key}"}
                        async with session.post(url, json=request_body("chat"), headers=headers) as answer:
                            statuses.append(answer.status)
    assert statuses == [200, 401, 401, 200, 401, 401]
    if unix:
        assert one.port is None
        assert not places[0].exists()  # type: ignore[union-attr]  # a path here
    gateway.close()


async def test_a_socket_is_for_its_owner_alone(store: Store, model: ScriptedModel, tmp_path: Path) -> None:
    socket = tmp_path / "model.sock"
    async with a_run(store, inference(model.base_url("r1", "steps")), socket=socket) as run:
        assert socket.stat().st_mode & 0o777 == 0o600
        assert (await run.ask(PATHS["chat"], request_body("chat")))[0] == 200


BAD: list[tuple[str, Any, int, str]] = [
    ("/v1/chat/completions", b"not json", 400, "invalid_request"),
    ("/v1/chat/completions", b"\xff\xfe", 400, "invalid_request"),
    ("/v1/chat/completions", b"[]", 400, "invalid_request"),
    ("/v1/chat/completions", b"[" * 100_000, 400, "invalid_request"),
    ("/v1/chat/completions", b'{"model":"m","messages":[],"n":NaN}', 400, "invalid_request"),
    ("/v1/chat/completions", b'{"model":"cheap","messages":[],"model":"dear"}', 400, "invalid_request"),
    ("/v1/chat/completions", {"messages": []}, 400, "invalid_request"),
    ("/v1/chat/completions", {"model": "a b\n", "messages": []}, 400, "invalid_request"),
    ("/v1/chat/completions", {"model": "m" * 201, "messages": []}, 400, "invalid_request"),
    ("/v1/chat/completions", {"model": "m", "input": "x"}, 400, "invalid_request"),
    ("/v1/chat/completions", {"model": "m", "messages": [], "stream": "yes"}, 400, "invalid_request"),
    ("/v1/responses", {"model": "m", "messages": []}, 400, "invalid_request"),
    ("/v1/responses", {"model": "m", "input": "x", "background": True}, 400, "invalid_request"),
    ("/v1/messages", {"model": "m", "messages": []}, 400, "invalid_request"),
    ("/v1/messages", {"model": "m", "input": "x", "max_tokens": 1}, 400, "invalid_request"),
    ("/v1/messages", b" " * 5000, 413, "request_too_large"),
    ("/v1/embeddings", {"model": "m"}, 404, "not_found"),
    ("/v1/../v1/messages/", {"model": "m"}, 404, "not_found"),
    ("/metrics", None, 404, "not_found"),
    ("/v1/responses", None, 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("path", "body", "status", "code"), BAD)
async def test_a_bad_request_is_told_in_the_dialect_and_never_goes_out(
    store: Store, model: ScriptedModel, path: str, body: Any, status: int, code: str
) -> None:
    settings = GatewaySettings(max_body_bytes=4096 if status == 413 else 1 << 20)
    async with a_run(store, inference(model.base_url("r1", "steps")), settings=settings) as run:
        found, _, text = await run.ask(path, body)
    assert found == status
    assert error_of("messages" if path == "/v1/messages" else "chat", text)["code"] == code
    assert (model.requests("r1"), spending.count_calls(store)) == ([], 0)


async def test_a_body_without_a_length_is_measured_too(store: Store, model: ScriptedModel) -> None:
    async def pieces() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with a_run(
        store, inference(model.base_url("r1", "steps")), settings=GatewaySettings(max_body_bytes=4096)
    ) as run:
        headers = {"authorization": f"Bearer {run.access.key}"}
        url = f"http://127.0.0.1:{run.access.port}/v1/messages"
        async with run.session.post(url, data=pieces(), headers=headers) as answer:
            assert answer.status == 413


async def test_a_model_outside_the_grant_is_403(store: Store, model: ScriptedModel) -> None:
    grant = replace(GRANT, models=("small", "big"))
    async with a_run(store, inference(model.base_url("r1", "steps")), grant=grant) as run:
        for dialect in DIALECTS:
            status, _, body = await run.ask(PATHS[dialect], request_body(dialect, model="huge"))
            assert (status, error_of(dialect, body)["code"]) == (403, "model_not_allowed")
        status, _, body = await run.ask("/v1/messages/count_tokens", {"model": "huge", "messages": []})
        assert status == 403
        assert (await run.ask(PATHS["chat"], request_body("chat", model="big")))[0] == 200
        listed = json.loads((await run.ask("/v1/models"))[2])
    assert [row["id"] for row in listed["data"]] == ["small", "big"]
    assert len(model.requests("r1")) == 1


@pytest.mark.parametrize(
    ("dialect", "more", "status"),
    [
        ("chat", {"models": ["big", "huge"]}, 403),
        ("responses", {"fallbacks": ["huge"], "mock_testing_fallbacks": True}, 403),
        ("messages", {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "huge"}]}, 403),
        ("chat", {"models": ["big"], "fallbacks": None, "tools": []}, 200),
        ("messages", {"fallbacks": [{"model": "huge"}], "tools": ["?", {"name": "huge", "input_schema": {}}]}, 200),
    ],
)
async def test_a_model_outside_the_grant_is_not_named_beside_another_one(
    store: Store, dialect: str, more: dict[str, Any], status: int
) -> None:
    with serving(json_answer({})) as service:
        async with a_run(store, inference(service.url), grant=replace(GRANT, models=("small", "big"))) as run:
            found, _, _ = await run.ask(PATHS[dialect], request_body(dialect, model="small", **more))
    assert (found, len(service.requests)) == (status, int(status == 200))


async def test_counting_tokens_and_the_list_of_models_cost_nothing(store: Store, model: ScriptedModel) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        status, _, body = await run.ask("/v1/messages/count_tokens", {"model": "m", "messages": []})
        assert (status, json.loads(body)) == (200, {"input_tokens": 100})
        status, _, body = await run.ask("/v1/models")
        assert (status, json.loads(body)["object"]) == (200, "list")
        assert (await run.ask("/v1/models", key=make_key("run-1")))[0] == 401
    assert spending.count_calls(store) == 0


async def test_a_list_of_models_is_passed_on_whole_or_not_at_all(store: Store) -> None:
    listed = json.dumps({"object": "list", "data": [{"id": f"model-{number}"} for number in range(1000)]}).encode()
    with serving(slow_answer(listed)) as service:
        async with a_run(store, inference(service.url)) as run:
            assert (await run.ask("/v1/models"))[::2] == (200, listed)
    with serving(slow_answer(b" " * (LONGEST_ANSWER + 1))) as service:
        async with a_run(store, inference(service.url)) as run:
            status, _, body = await run.ask("/v1/models")
    assert (status, error_of("chat", body)["code"]) == (502, "provider_error")


async def test_extras_are_merged_over_the_request_and_recorded(store: Store, model: ScriptedModel) -> None:
    extra = {"vllm_xargs": {"steer": "0.4"}, "temperature": 0}
    grant = replace(GRANT, request_extra=extra)
    digest = extra_hash(extra)
    async with a_run(store, inference(model.base_url("r1", "steps")), grant=grant) as run:
        body = request_body("chat", temperature=1, vllm_xargs={"other": 1, "steer": "9"})
        status, headers, _ = await run.ask(PATHS["chat"], body)
        assert (status, headers["x-agentd-extra"]) == (200, digest)
        status, headers, _ = await run.ask(PATHS["chat"], b"{}")
        assert (status, headers["x-agentd-extra"]) == (400, digest)
    sent = model.requests("r1")[0].body
    assert sent["vllm_xargs"] == {"other": 1, "steer": "0.4"}
    assert (sent["temperature"], sent["messages"]) == (0, body["messages"])
    assert spending.calls_of(store)[0].extra_hash == digest


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_half_a_character_passes_where_the_request_is_changed(store: Store, dialect: str) -> None:
    body = request_body(dialect, stream=True, metadata={"cut": "\ud83d", "whole": "é"})
    with serving(json_answer({})) as service:
        async with a_run(store, inference(service.url), grant=replace(GRANT, request_extra={"seed": 7})) as run:
            status, _, _ = await run.ask(PATHS[dialect], json.dumps(body).encode())
    more = {"stream_options": {"include_usage": True}} if dialect == "chat" else {}
    assert (status, [json.loads(sent) for _, _, sent in service.requests]) == (200, [{**body, "seed": 7, **more}])


async def test_the_gateway_says_that_it_lives_and_a_closed_one_opens_nothing(
    store: Store, model: ScriptedModel
) -> None:
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        assert (await run.ask("/healthz"))[0] == 200
        gateway = run.gateway
    with pytest.raises(RuntimeError, match="closed"):
        async with gateway.opened(GRANT, print):
            pass
    gateway.close()


async def test_a_store_that_is_locked_is_503_and_nothing_goes_out(
    store: Store, model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentd.store.spending.BUSY_SECONDS", 0.2)
    async with a_run(store, inference(model.base_url("r1", "steps"))) as run:
        other = sqlite3.connect(tmp_path / "state" / "agentd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        status, headers, body = await run.ask(PATHS["messages"], request_body("messages"))
        other.rollback()
        other.close()
        assert (status, error_of("messages", body)["code"]) == (503, "store_unavailable")
        assert headers["x-agentd-retryable"] == "true"
        assert (await run.ask(PATHS["messages"], request_body("messages")))[0] == 200
    assert len(model.requests("r1")) == 1
    assert spending.all_meters(store)["run:run-1"].reserved.calls == 0


async def test_a_socket_path_that_is_too_long_is_named(store: Store, model: ScriptedModel, tmp_path: Path) -> None:
    socket = tmp_path / ("x" * 120)
    with pytest.raises(ConfigurationError, match=r"x{120}: the path of a socket may have 107 bytes"):
        async with a_run(store, inference(model.base_url("r1", "steps")), socket=socket):
            pass
    assert spending.revoke(store, run_id="run-1") == 0
