"""The page's server: its routes, and its life by itself or beside a supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from aiohttp import web

from agentd import __version__
from agentd.errors import ConfigurationError, StoreError
from agentd.web import acts, details, live, metrics, overview
from agentd.web.access import Access, guarded, is_loopback
from agentd.web.answers import answer, envelope, refuse
from agentd.web.downloads import evidence_archive
from agentd.web.source import Source

STATIC = files("agentd.web") / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
PAGES = ("/", "/runs", "/runs/{run_id}", "/tasks", "/tasks/{task_id}", "/ledger", "/doctor")
"""Addresses of the page; what is shown there is made in the browser, from the API."""
DOCTOR_SECONDS = 30.0
"""The doctor's findings are kept so long: it asks GitHub."""


def make_app(source: Source, access: Access) -> web.Application:
    """The whole server as an aiohttp application."""
    app = web.Application(middlewares=[guarded(access), envelope], client_max_size=64 * 1024)
    broadcast = live.Broadcast(lambda: source.cleaned(overview.state(source)))
    doctor = _Doctor(source)

    async def session(_: web.Request) -> web.StreamResponse:
        return answer({"csrf": access.csrf, "repo": source.settings.repo, "version": __version__})

    async def stream(request: web.Request) -> web.StreamResponse:
        return await broadcast.watch(request)

    async def log(request: web.Request) -> web.StreamResponse:
        run_id = request.match_info["run_id"]
        await asyncio.to_thread(details.require_run, source, run_id)
        return await live.log(request, source, run_id)

    async def patch(request: web.Request) -> web.StreamResponse:
        text = await asyncio.to_thread(details.diff, source, request.match_info["run_id"])
        # A file that is not UTF-8, and its name, stand in a diff as git found them.
        body = text.encode(errors="surrogateescape").decode(errors="replace").encode()
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    async def evidence(request: web.Request) -> web.StreamResponse:
        run_id = request.match_info["run_id"]
        data = await asyncio.to_thread(evidence_archive, source, run_id)
        told = {"Content-Disposition": f'attachment; filename="{run_id}.tar.gz"'}
        return web.Response(body=data, content_type="application/gzip", headers=told)

    async def healthz(_: web.Request) -> web.StreamResponse:
        try:
            await asyncio.to_thread(lambda: source.store.installation_id())
        except StoreError:
            return refuse(503, "store", "the store cannot be read")
        return answer({"status": "ok"})

    async def figures(_: web.Request) -> web.StreamResponse:
        found = await asyncio.to_thread(overview.state, source)
        return web.Response(body=metrics.text(found), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def description(_: web.Request) -> web.StreamResponse:
        return web.Response(body=(STATIC / "openapi.json").read_bytes(), content_type="application/json")

    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/metrics", figures),
            web.get("/login", access.login),
            web.post("/login", access.login),
            web.get("/api/v1/session", session),
            web.get("/api/v1/state", _told(overview.state, source)),
            web.get("/api/v1/stream", stream),
            web.get("/api/v1/runs", _told(_runs, source)),
            web.get("/api/v1/runs/{run_id}", _told(_run, source)),
            web.get("/api/v1/runs/{run_id}/log", log),
            web.get("/api/v1/runs/{run_id}/diff", patch),
            web.get("/api/v1/runs/{run_id}/evidence", evidence),
            web.get("/api/v1/tasks", _told(details.graph, source)),
            web.get("/api/v1/tasks/{task_id}", _told(_task, source)),
            web.get("/api/v1/ledger", _told(_ledger, source)),
            web.get("/api/v1/doctor", doctor.handle),
            web.get("/api/v1/openapi.json", description),
            *acts.routes(source),
            web.get("/api/v1/{identifier}", _told(_any, source)),
            web.get("/static/{name}", _static),
            *(web.get(path, _shell) for path in PAGES),
        ]
    )

    async def close(_: web.Application) -> None:
        await broadcast.close()

    app.on_shutdown.append(close)
    return app


@asynccontextmanager
async def serving(source: Source, host: str, port: int, token: str) -> AsyncIterator[str]:
    """Serve until left; the page's address. Raises ConfigurationError when the address cannot be had."""
    if not token and not is_loopback(host):
        raise ConfigurationError(
            f"--host {host}: others may reach that address; set AGENTD_WEB_TOKEN, put TLS before it, or use 127.0.0.1"
        )
    runner = web.AppRunner(make_app(source, Access(token)), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"--port {port}: {error.strerror or error}") from None
        taken = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{taken}/"
    finally:
        await runner.cleanup()


def _told(ask: Callable[..., dict[str, Any]], source: Source) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that asks in a thread; what it is asked with are the words of the address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        words = {**request.match_info, **request.query}
        more = {"words": words} if words else {}
        return answer(await asyncio.to_thread(lambda: source.cleaned(ask(source, **more))))

    return handle


def _run(source: Source, words: dict[str, str]) -> dict[str, Any]:
    return details.run(source, words["run_id"])


def _task(source: Source, words: dict[str, str]) -> dict[str, Any]:
    return details.task(source, words["task_id"])


def _any(source: Source, words: dict[str, str]) -> dict[str, Any]:
    return details.find(source, words["identifier"])


def _runs(source: Source, words: dict[str, str] | None = None) -> dict[str, Any]:
    asked = words or {}
    return details.runs_page(source, asked.get("before", ""), asked.get("state", ""), asked.get("q", ""))


def _ledger(source: Source, words: dict[str, str] | None = None) -> dict[str, Any]:
    before = (words or {}).get("before", "")
    return details.ledger_page(source, int(before) if before.isdigit() else None)


class _Doctor:
    """The doctor's report, asked for by one at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = asyncio.Lock()
        self._kept: tuple[float, dict[str, Any]] | None = None

    async def handle(self, _: web.Request) -> web.StreamResponse:
        """The report of the last half minute, or a new one."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._kept is None or loop.time() - self._kept[0] > DOCTOR_SECONDS:
                self._kept = (loop.time(), await asyncio.to_thread(self._look))
        return answer(self._kept[1])

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = self._source.cleaned(details.doctor(self._source))
        return found


async def _shell(_: web.Request) -> web.StreamResponse:
    return _file("index.html", "text/html")


async def _static(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    suffix = name[name.rfind(".") :] if "." in name else ""
    if suffix not in TYPES or name.startswith(".") or not (STATIC / name).is_file():
        raise web.HTTPNotFound
    return _file(name, TYPES[suffix])


def _file(name: str, kind: str) -> web.Response:
    response = web.Response(body=(STATIC / name).read_bytes(), content_type=kind, charset="utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.enable_compression()
    return response
