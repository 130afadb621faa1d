"""What the gateway's tests stand on: model services that do what a test says, and requests in every dialect."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agentd.config_tables import GatewaySettings
from agentd.gateway.service import Access, Gateway, Grant, Notice, upstreams_of
from agentd.policy.budget_settings import Budgets
from agentd.store.connection import Store

REAL_KEY = "sk-real-0123456789abcdef"
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
DIALECTS = list(PATHS)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def request_body(dialect: str, *, stream: bool = False, model: str = "practice", **more: Any) -> dict[str, Any]:
    """A request that a scripted model answers with the next step of its script."""
    said = [{"role": "user", "content": "fix it"}]
    tool = {"name": "bash", "parameters": {"properties": {"command": {"type": "string"}}}}
    body: dict[str, Any] = {"model": model, "stream": stream}
    if dialect == "chat":
        body |= {"messages": said, "tools": [{"type": "function", "function": tool}]}
    elif dialect == "responses":
        body |= {"input": said, "tools": [{"type": "function", **tool}]}
    else:
        body |= {"messages": said, "max_tokens": 50, "tools": [{"name": "Bash", "input_schema": tool["parameters"]}]}
    return body | more


def usage_body(dialect: str, input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """The smallest answer that tells its usage."""
    if dialect == "chat":
        return {"usage": {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}}
    return {"usage": {"input_tokens": input_tokens, "output_tokens": output_tokens}}


@dataclass
class Service:
    """A model service in a thread of its own; `answer` decides what it says."""

    answer: Answer
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    """set when a call ended because its client was gone"""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Service]:
        """Listening meanwhile."""
        started = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        thread.start()
        assert started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.requests.append((request.path_qs, headers, await request.read()))
            try:
                return await self.answer(request)
            except (asyncio.CancelledError, ConnectionError):
                self.ended.set()
                raise

        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        started.set()
        await self._stop.wait()
        await runner.cleanup()


@contextmanager
def serving(answer: Answer) -> Iterator[Service]:
    """A service that answers so."""
    with Service(answer).running() as service:
        yield service


def json_answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """The same answer to everything."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


def sse_answer(*pieces: bytes, hang: bool = False, cut: bool = False) -> Answer:
    """A stream of these pieces, which then ends as it should, hangs, or breaks off."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if hang:
            await asyncio.Event().wait()
        if cut:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def slow_answer(body: bytes, status: int = 200) -> Answer:
    """The same JSON to everything, in two pieces with a moment between them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"content-type": "application/json"})
        await response.prepare(request)
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            await response.write(piece)
            await asyncio.sleep(0.1)
        return response

    return answer


@dataclass
class Run:
    """A run with a gateway."""

    access: Access
    notices: list[Notice]
    gateway: Gateway
    session: aiohttp.ClientSession

    async def ask(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body). A body that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {
            "content-type": "application/json",
            "authorization": f"Bearer {key or self.access.key}",
            **(headers or {}),
        }
        url = f"http://127.0.0.1:{self.access.port or 80}{path}"
        async with self.session.request(
            "GET" if data is None else "POST", url, data=data, headers=sent, **more
        ) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


@asynccontextmanager
async def a_run(
    store: Store,
    environ: Mapping[str, str],
    *,
    grant: Grant | None = None,
    budgets: Budgets | None = None,
    settings: GatewaySettings | None = None,
    socket: Path | None = None,
) -> AsyncIterator[Run]:
    """A gateway of its own with one run."""
    settings = settings or GatewaySettings()
    gateway = Gateway(store, upstreams_of(environ, settings), budgets or Budgets(), settings)
    notices: list[Notice] = []
    connector = aiohttp.UnixConnector(str(socket)) if socket else None
    try:
        wanted = grant or Grant("run-1", "P0-01", "build")
        async with (
            gateway.opened(wanted, notices.append, socket) as access,
            aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
        ):
            yield Run(access, notices, gateway, session)
    finally:
        await asyncio.to_thread(gateway.close)


def inference(url: str) -> dict[str, str]:
    """An environment in which one service serves everything."""
    return {"INFERENCE_BASE_URL": url, "INFERENCE_API_KEY": REAL_KEY}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream."""
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ") and line != b"data: [DONE]"]
    return [json.loads(line) for line in lines]


def error_of(dialect: str, body: bytes) -> dict[str, Any]:
    """The error of an answer; its shape is looked at, too."""
    found = json.loads(body)
    if dialect == "messages":
        assert found.keys() == {"type", "error"}
        assert found["type"] == "error"
    else:
        assert found.keys() == {"error"}
        assert found["error"].keys() == {"message", "type", "param", "code"}
    error: dict[str, Any] = found["error"]
    return error
