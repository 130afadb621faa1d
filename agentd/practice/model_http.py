"""The practice model's HTTP side: finds the dialect of a request, and sends the step's answer or its fault."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from agentd.practice import model_chat, model_messages, model_responses
from agentd.practice.model_chat import Frame
from agentd.practice.model_runs import Recorded, Runs, prompt_of
from agentd.practice.model_script import Step, Usage
from agentd.practice.model_tools import NoSuchTool, Reply, Tool, reply_for


@dataclass(frozen=True)
class Dialect:
    """How one wire format reads requests and writes answers."""

    name: str
    tools: Callable[[Mapping[str, Any]], list[Tool]]
    answer: Callable[[Reply, str, str], dict[str, Any]]
    frames: Callable[[Reply, str, str, Mapping[str, Any]], list[Frame]]
    error: Callable[[int, str], dict[str, Any]]


DIALECTS = {
    "chat/completions": Dialect("chat", model_chat.tools, model_chat.answer, model_chat.frames, model_chat.error),
    "responses": Dialect(
        "responses", model_responses.tools, model_responses.answer, model_responses.frames, model_responses.error
    ),
    "messages": Dialect(
        "messages", model_messages.tools, model_messages.answer, model_messages.frames, model_messages.error
    ),
}
"""By the end of the request's path."""

CANNED = Reply("Practice.", "", (), Usage(10, 2))
"""The answer to requests without tools: agents ask for titles and summaries beside the conversation."""

MEANINGS = {401: "incorrect API key", 429: "rate limit", 500: "internal server error", 503: "unavailable"}
"""What services say beside the status: some agents hand on the words alone."""

_BODY_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Exchange:
    """One request on its way to an answer."""

    request: web.Request
    dialect: Dialect
    body: Mapping[str, Any]
    reply_id: str

    @property
    def model(self) -> str:
        return str(self.body.get("model", "practice"))


def application(runs: Runs) -> web.Application:
    """The server's routes; `/r/<run>/<script>` is the base address of one run."""
    ids = itertools.count(1)

    async def post(request: web.Request) -> web.StreamResponse:
        tail = request.match_info["tail"]
        if tail.endswith("count_tokens"):
            return web.json_response({"input_tokens": 100})
        dialect = next((known for end, known in DIALECTS.items() if tail.endswith(end)), None)
        if dialect is None:
            raise web.HTTPNotFound(text=f"the practice model serves {', '.join(DIALECTS)}, not {tail}")
        body = json.loads(await request.read())
        return await _respond(runs, Exchange(request, dialect, body, f"practice{next(ids)}"))

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [], "models": [], "has_more": False})

    app = web.Application(client_max_size=_BODY_LIMIT_BYTES)
    app.router.add_post("/r/{run}/{script}/{tail:.*}", post)
    app.router.add_get("/r/{run}/{script}{tail:.*}", models)
    return app


async def _respond(runs: Runs, exchange: Exchange) -> web.StreamResponse:
    request, dialect, body = exchange.request, exchange.dialect, exchange.body
    run, script = runs.resolve(request.match_info["run"], request.match_info["script"], prompt_of(body))
    tools = dialect.tools(body)
    position, step = None, None
    if tools:
        try:
            position, step = runs.advance(run, script)
        except KeyError:
            return web.json_response(dialect.error(404, f"the practice model has no script {script!r}"), status=404)
    headers = {name.lower(): value for name, value in request.headers.items()}
    number = runs.record(Recorded(run, script, request.path, dialect.name, headers, body, position, 0))
    if step is None:
        runs.answered(number, 200)
        return await _send(exchange, CANNED, 0.0)
    await asyncio.sleep(step.delay_seconds)
    if step.action in ("hang", "disconnect", "garbage"):
        return await _misbehave(exchange, step)
    status, response = 200, None
    if step.action == "status":
        status, response = step.value, _error(exchange, step)
    else:
        try:
            reply = reply_for(step, tools, json.dumps(body, ensure_ascii=False))
        except NoSuchTool as problem:
            status, response = 400, web.json_response(dialect.error(400, f"practice model: {problem}"), status=400)
    runs.answered(number, status)
    return response if response is not None else await _send(exchange, reply, step.chunk_delay_seconds)


async def _send(exchange: Exchange, reply: Reply, chunk_delay_seconds: float) -> web.StreamResponse:
    if not exchange.body.get("stream"):
        return web.json_response(exchange.dialect.answer(reply, exchange.model, exchange.reply_id))
    response = await _open_stream(exchange)
    frames = exchange.dialect.frames(reply, exchange.model, exchange.reply_id, exchange.body)
    await _write(response, frames, chunk_delay_seconds)
    await response.write_eof()
    return response


def _error(exchange: Exchange, step: Step) -> web.Response:
    headers = {} if step.retry_after_seconds is None else {"retry-after": f"{step.retry_after_seconds:g}"}
    meaning = MEANINGS.get(step.value, "refused")
    body = exchange.dialect.error(step.value, f"practice model: scripted {step.value}, {meaning}")
    return web.json_response(body, status=step.value, headers=headers)


async def _misbehave(exchange: Exchange, step: Step) -> web.StreamResponse:
    if step.action == "garbage":
        return web.Response(body=b"data: {not json\n\n\x00\xff garbage\n\n", content_type="text/event-stream")
    response: web.StreamResponse = web.Response()
    if step.value == "stream":
        response = await _open_stream(exchange)
        reply = Reply("A beginning without", "", (), step.usage)
        frames = exchange.dialect.frames(reply, exchange.model, exchange.reply_id, exchange.body)
        await _write(response, frames[:2], 0.0)
    if step.action == "hang":
        await asyncio.Event().wait()
    if exchange.request.transport is not None:
        exchange.request.transport.abort()
    return response


async def _open_stream(exchange: Exchange) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await response.prepare(exchange.request)
    return response


async def _write(response: web.StreamResponse, frames: Sequence[Frame], chunk_delay_seconds: float) -> None:
    for event, data in frames:
        await response.write((f"event: {event}\n" if event else "").encode() + f"data: {data}\n\n".encode())
        if chunk_delay_seconds:
            await asyncio.sleep(chunk_delay_seconds)
