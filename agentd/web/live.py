"""What moves, as server-sent events: the overview for everybody who looks, and the log of one run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from agentd.errors import AgentdError
from agentd.plain import printable
from agentd.sandbox.redact import redact
from agentd.states import ACTIVE
from agentd.store import runs
from agentd.web.source import Source

LOOK_SECONDS = 1.0
PING_SECONDS = 15.0
"""A comment is sent after so long, so that a connection that is gone is noticed."""
FIRST_BYTES = 64 * 1024
"""of the end of a log are sent to who asks for the first time"""
PIECE_BYTES = 64 * 1024
HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
MOST_WATCHERS = 500


def frame(event: str, value: Any, name: str = "") -> bytes:
    """One event; JSON has no line ends (html.spec.whatwg.org, "Server-sent events")."""
    return f"event: {event}\n{f'id: {name}' + chr(10) if name else ''}data: {json.dumps(value)}\n\n".encode()


class Broadcast:
    """One look at the store for all who watch, and none while nobody does."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._last = b""
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._task: asyncio.Task[None] | None = None

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Send the state now, and again whenever it has changed."""
        if len(self._watchers) >= MOST_WATCHERS:
            raise web.HTTPServiceUnavailable
        mine: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._watchers.add(mine)
        if self._task is None or self._task.done():
            self._last = b""
            self._task = asyncio.create_task(self._run())
        elif self._last:
            mine.put_nowait(self._last)
        response = web.StreamResponse(headers=HEADERS)
        try:
            await response.prepare(request)
            while True:
                try:
                    await response.write(await asyncio.wait_for(mine.get(), PING_SECONDS))
                except TimeoutError:
                    await response.write(b": still here\n\n")
        except (ConnectionResetError, asyncio.CancelledError):
            return response
        finally:
            self._watchers.discard(mine)

    async def close(self) -> None:
        """End the looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._watchers:
            try:
                found = frame("state", await asyncio.to_thread(self._look))
            except AgentdError as error:
                found = frame("trouble", {"message": str(error)})
            if found != self._last:
                self._last = found
                for watcher in self._watchers:
                    if watcher.full():
                        watcher.get_nowait()  # who reads slowly gets the newest only
                    watcher.put_nowait(found)
            await asyncio.sleep(LOOK_SECONDS)


async def log(request: web.Request, source: Source, run_id: str) -> web.StreamResponse:
    """The log of a run as it grows; it goes on at `Last-Event-ID`, a position in bytes, and ends with the run."""
    path = source.log_of(run_id)
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    last = request.headers.get("Last-Event-ID", "")
    position = int(last) if last.isdigit() else max(0, _size(path) - FIRST_BYTES)
    quiet = 0.0
    with suppress(ConnectionResetError, asyncio.CancelledError):
        while True:
            run = await asyncio.to_thread(runs.get_run, source.store, run_id)
            over = run is None or run.state not in ACTIVE
            received = await asyncio.to_thread(_piece, path, position)
            while received:
                position += len(received)
                await response.write(frame("log", {"text": shown(received, source.secrets)}, str(position)))
                received, quiet = await asyncio.to_thread(_piece, path, position), 0.0
            if over:
                await response.write(frame("end", {"state": run.state if run is not None else ""}))
                return response
            quiet += LOOK_SECONDS
            if quiet >= PING_SECONDS:
                await response.write(b": still here\n\n")
                quiet = 0.0
            await asyncio.sleep(LOOK_SECONDS)
    return response


def shown(data: bytes, secrets: tuple[str, ...]) -> str:
    """Text without secrets and without control characters: an agent's output is untrusted."""
    return printable(redact(data.decode(errors="replace"), secrets))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _piece(path: Path, position: int) -> bytes:
    """Whole lines where there is one: a secret is not cut in two, nor a character."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            data = file.read(PIECE_BYTES)
    except OSError:
        return b""
    end = data.rfind(b"\n") + 1
    return data[:end] if end else data
