"""Where an agent may send its own spans: a receiver on loopback, for the time of one program of one run."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.run.desk import Desk
from agentd.store import reported
from agentd.trace.receiving import spans_in
from agentd.trace.span import trace_id_of

if TYPE_CHECKING:  # the web server is loaded with the first run that needs it
    from aiohttp import web

PORT = 4318
"""Of the receiver on a sandbox's loopback: the usual one of OTLP over HTTP."""
MOST_BYTES = 4 << 20
"""of one request"""


@dataclass
class TelemetryDoor:
    """The receiver as one program sees it."""

    desk: Desk
    endpoint: str = ""
    """its address, once it is open"""

    @asynccontextmanager
    async def opened(self, socket: Path | None = None) -> AsyncIterator[None]:
        """Listens inside the `with`: on the socket of a sandbox, else on a port of this host's loopback."""
        from aiohttp import web

        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/{other:logs|metrics}", self._taken)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = PORT if socket else runner.addresses[0][1]
            self.endpoint = f"http://127.0.0.1:{port}"
            yield
        finally:
            await runner.cleanup()

    async def _traces(self, request: web.Request) -> web.Response:
        from aiohttp import web

        body, run_id = await request.read(), self.desk.run.run_id
        try:
            spans = spans_in(body, self.desk.profile.adapter, trace_id_of(run_id))
        except (ValueError, zlib.error) as error:
            return web.json_response({"code": 3, "message": str(error)[:200]}, status=400)
        if spans:
            await asyncio.to_thread(reported.add, self.desk.context.telemetry, run_id, spans)
        return web.json_response({})

    async def _taken(self, _: web.Request) -> web.Response:
        """Logs and metrics: what they say is known from elsewhere."""
        from aiohttp import web

        return web.json_response({})
