"""The agent's stream over HTTP, as server-sent events: `event: thought`, then `data: {...}`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress

from aiohttp import web

from agentd.agents.builtin.program.events import Event, Failure, to_json

Stream = Callable[[web.Request], AsyncIterator[Event]]
"""Makes the events for one request: `run_agent` of some work, an async generator."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEADERS = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"}


def events_handler(stream: Stream) -> Handler:
    """A handler that streams the events of a run. Who goes away ends it; one that breaks ends with an `error`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        with suppress(ConnectionResetError):  # nobody listens any more
            async with aclosing(stream(request)) as events:  # type: ignore[type-var]  # an async generator has aclose
                try:
                    async for event in events:
                        await response.write(frame(event))
                except ConnectionResetError:
                    raise
                except Exception as error:  # the status has been sent, so an event must say it
                    await response.write(frame(Failure("failed", f"{type(error).__name__}: {error}")))
            await response.write_eof()
        return response

    return handle


def frame(event: Event) -> bytes:
    """One event of the stream (html.spec.whatwg.org, "Server-sent events"); JSON has no line ends."""
    told = to_json(event)
    return f"event: {told['type']}\ndata: {json.dumps(told['data'])}\n\n".encode()
