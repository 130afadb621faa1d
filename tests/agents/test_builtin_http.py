"""The built-in agent over HTTP on both of its sides: services that answer badly, and its own stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from agentd.agents.builtin.program.events import Event, Failure, FinalReport, ToolResult
from agentd.agents.builtin.program.exchange import Endpoint
from agentd.agents.builtin.program.loop import Work, run_agent
from agentd.agents.builtin.sse import events_handler
from tests.agents.builtin_rig import DIALECTS, REPORT, Rig


@asynccontextmanager
async def service(*answers: web.Response) -> AsyncIterator[tuple[str, list[str]]]:
    """A model's service that gives these answers, the last one for ever; its address and what it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        given = answers[min(len(asked), len(answers)) - 1]
        return web.Response(body=given.body, status=given.status, headers=given.headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def events_of(folder: Path, base: str, dialect: str = "chat", **more: Any) -> list[Event]:
    work = Work("please", folder, Endpoint(base, "key", "practice"), dialect, **more)
    return [event async for event in run_agent(work)]


@pytest.mark.parametrize("status", [429, 500])
async def test_a_service_that_says_so_is_not_asked_again(rig: Rig, status: int) -> None:
    refusal = web.Response(status=status, headers={"x-should-retry": "false", "retry-after": "0"}, text="no")
    async with service(refusal) as (base, asked):
        [event] = await events_of(rig.workspace, base)
    assert isinstance(event, Failure) and event.kind == ("quota" if status == 429 else "api_error")
    assert not event.retryable and len(asked) == 1


@pytest.mark.parametrize("status", [302, 303, 307])
async def test_a_redirect_takes_the_key_nowhere(rig: Rig, status: int) -> None:
    async with service(web.Response(text="{}")) as (other, heard):
        moved = web.Response(status=status, headers={"location": f"{other}/elsewhere"})
        async with service(moved) as (base, _):
            [event] = await events_of(rig.workspace, base)
    assert isinstance(event, Failure) and str(status) in event.message
    assert heard == []


def chat(*calls: tuple[str, str], text: str | None = None, finish: str = "stop") -> web.Response:
    listed = [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": raw}}
        for at, (name, raw) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": listed}
    return web.json_response({"choices": [{"message": message, "finish_reason": finish}]})


async def test_arguments_that_are_no_json_and_an_answer_that_was_cut(rig: Rig) -> None:
    report = json.dumps({"summary": "s", "files_changed": [], "commands_verified": []})
    answers = (
        chat(("shell", '{"command": "touch x"'), ("shell", "[1]"), ("shell", '{"command": "touch both"}')),
        chat(text="And so", finish="length"),
        chat(("report", report)),
    )
    async with service(*answers) as (base, asked):
        events = await events_of(rig.workspace, base)
    results = [event for event in events if isinstance(event, ToolResult)]
    assert "are no JSON" in results[0].output and "of type object, not array" in results[1].output and results[2].ok
    assert not (rig.workspace / "x").exists() and (rig.workspace / "both").exists()
    assert len(asked) == 3 and isinstance(events[-1], FinalReport) and not events[-1].synthesised


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "answer", ["[]", "{}", "null", '{"choices": []}', '{"content": 1}', '{"choices": [{"message": 1}]}']
)
async def test_what_is_no_answer_is_one_error(rig: Rig, dialect: str, answer: str) -> None:
    async with service(web.Response(text=answer)) as (base, asked):
        [event] = await events_of(rig.workspace, base, dialect, waits_seconds=(0.0, 0.0, 0.0))
    assert isinstance(event, Failure) and (event.kind, event.retryable) == ("api_error", True)
    assert len(asked) == 4


async def streamed(base: str) -> tuple[str, list[tuple[str, Any]]]:
    """Content type and events of a stream over HTTP."""
    async with ClientSession() as session, session.get(base) as response:
        text = (await response.read()).decode()
    frames = [frame.split("\n") for frame in text.removesuffix("\n\n").split("\n\n")]
    assert all(kind.startswith("event: ") and data.startswith("data: ") for kind, data in frames)
    told = [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in frames]
    return response.headers["content-type"], told


@asynccontextmanager
async def served(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_stream_goes_over_http_as_server_sent_events(rig: Rig) -> None:
    rig.model.script("s", [{"shell": "echo one; echo two", "say": "a\nb"}, REPORT])
    work = Work("please", rig.workspace, Endpoint(rig.model.base_url("s", "s"), "k", "practice"), "messages")
    async with served(events_handler(lambda request: run_agent(work))) as base:
        kind, told = await streamed(base)
    assert kind == "text/event-stream"
    assert [name for name, _ in told] == ["thought", *["tool_call", "tool_result"] * 2, "final_report"]
    assert told[0][1] == {"text": "a\nb"} and told[2][1]["output"] == "one\ntwo\n[exit status 0]"


async def test_a_stream_that_breaks_ends_with_an_error_and_one_that_nobody_hears_is_ended(rig: Rig) -> None:
    async def broken(request: web.Request) -> AsyncIterator[Event]:
        yield ToolResult("1", True, "x")
        raise RuntimeError("broken")

    async with served(events_handler(broken)) as base:
        _, told = await streamed(base)
    assert [name for name, _ in told] == ["tool_result", "error"] and "broken" in told[1][1]["message"]

    ended = asyncio.Event()

    async def endless(request: web.Request) -> AsyncIterator[Event]:
        try:
            while True:
                yield ToolResult("1", True, "x" * 100_000)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with served(events_handler(endless)) as base, ClientSession() as session:
        async with session.get(base) as response:
            await response.content.read(10)
        await session.close()
        await asyncio.wait_for(ended.wait(), 20)
