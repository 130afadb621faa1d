"""Orders that a person gives on the page: pause, resume, cancel, try again, look now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing

from aiohttp import web

from agentd.store.connection import Store
from agentd.supervisor import orders
from agentd.supervisor.retry import retry
from agentd.web.answers import answer, refuse
from agentd.web.source import Source

Act = Callable[[Store, dict[str, str], str], str]
"""What an order does: with the store, its words, and the run that it is about; what is said of it."""
MOST_BYTES = 10_000


def routes(source: Source) -> list[web.RouteDef]:
    """Everything that is changed by POST; a body is a JSON object of strings."""

    def route(path: str, act: Act, *words: str) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            given = await _body(request)
            if given is None or not set(words).issuperset(given):
                may = f"it may have {', '.join(words)}" if words else "it has no words"
                return refuse(400, "bad_body", f"expected a JSON object of strings; {may}")
            done = await asyncio.to_thread(_with_store, source, act, given, request.match_info.get("run_id", ""))
            return answer({"done": done}, 202)

        return web.post(path, handle)

    def pause(store: Store, given: dict[str, str], _: str) -> str:
        said = orders.pause(store, source.settings, given.get("reason", "")[:200], given.get("profile") or None)
        return f"paused until `{said.action}`"

    def resume(store: Store, given: dict[str, str], _: str) -> str:
        return "resumed" if orders.resume(store, given.get("profile") or None) else "there was no pause"

    def cancel(store: Store, _: dict[str, str], run_id: str) -> str:
        orders.cancel(store, run_id)
        return f"{run_id} will end"

    def again(store: Store, given: dict[str, str], run_id: str) -> str:
        return retry(store, source.settings, source.clock, run_id, given.get("from", "")).run_id

    async def refresh(_: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(orders.refresh, source.settings)
        return answer({"done": "the supervisor looks at GitHub now"}, 202)

    return [
        route("/api/v1/pause", pause, "reason", "profile"),
        route("/api/v1/resume", resume, "profile"),
        route("/api/v1/runs/{run_id}/cancel", cancel),
        route("/api/v1/runs/{run_id}/retry", again, "from"),
        web.post("/api/v1/refresh", refresh),
    ]


def _with_store(source: Source, act: Act, given: dict[str, str], run_id: str) -> str:
    with closing(source.for_orders()) as store:
        return act(store, given, run_id)


async def _body(request: web.Request) -> dict[str, str] | None:
    """The words of an order, or None when it is none; no body is an empty one."""
    data = b""
    async for piece in request.content.iter_any():
        data += piece
        if len(data) > MOST_BYTES:
            return None
    if not data.strip():
        return {}
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
    return given if is_one else None
