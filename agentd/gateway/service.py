"""The gateway of one process: `opened` gives a run its door and its key for as long as the run goes on.

gateway = Gateway(store, upstreams_of(environ, settings.gateway), settings.budgets, settings.gateway)
async with gateway.opened(Grant("run-1", "P0-01", "build"), told, socket=folder / "model.sock") as access:
    ...   # the agent's key is access.key
gateway.close()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from agentd.config_tables import GatewaySettings
from agentd.errors import StoreError
from agentd.gateway.doors import Door, Hall, key_row, listening, new_door
from agentd.gateway.grants import Access, Grant, Notice, hash_of, make_key
from agentd.gateway.metrics import Metrics
from agentd.gateway.prices import Prices
from agentd.gateway.upstreams import Upstreams, upstreams_of
from agentd.gateway.writer import Writer
from agentd.policy.budget_settings import Budgets
from agentd.store import spending
from agentd.store.connection import Store

__all__ = ["Access", "Gateway", "Grant", "Notice", "Upstreams", "upstreams_of"]

LOOPBACK = "127.0.0.1"
_T = TypeVar("_T")


class Gateway:
    """One per executor process: an own thread with an own event loop; started with the first `opened`."""

    def __init__(self, store: Store, upstreams: Upstreams, budgets: Budgets, settings: GatewaySettings) -> None:
        self._store, self._upstreams, self._budgets, self._settings = store, upstreams, budgets, settings
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._hall: Hall | None = None
        self._closed = False

    @asynccontextmanager
    async def opened(
        self, grant: Grant, told: Callable[[Notice], None], socket: Path | None = None
    ) -> AsyncIterator[Access]:
        """A door of the run's own, on a unix socket or a free loopback port, and the key that is good there.

        `told` is called in the caller's event loop. At the end the key is revoked, the door closed, and calls on their
        way are ended and settled. Raises ConfigurationError when the door cannot be opened, StoreError.
        """
        here = asyncio.get_running_loop()

        def tell(notice: Notice) -> None:
            with suppress(RuntimeError):  # the caller's loop is closed: nobody listens any more
                here.call_soon_threadsafe(told, notice)

        hall = await asyncio.to_thread(self._started)
        key = make_key(grant.run_id)
        door = new_door(grant, hash_of(key) or "", tell)
        stack = AsyncExitStack()
        try:
            port = await self._in_loop(self._open(hall, stack, grant, door, socket or (LOOPBACK, 0)))
            yield Access(key, port)
        finally:
            await asyncio.shield(self._in_loop(self._shut(hall, stack, door)))

    @contextmanager
    def serving(self, host: str, port: int) -> Iterator[int]:
        """A public door for every key that names none; the port. Raises ConfigurationError, StoreError."""
        hall = self._started()
        assert self._loop is not None
        stack = AsyncExitStack()

        def call(work: Coroutine[Any, Any, _T]) -> _T:
            assert self._loop is not None
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()

        try:
            found = call(stack.enter_async_context(listening(hall, Door(), (host, port))))
            yield found or 0
        finally:
            call(stack.aclose())

    def close(self) -> None:
        """End all doors, settle what is on its way, and end the thread. Safe to call twice, or without a start."""
        with self._starting:
            self._closed = True
            if self._loop is None or self._thread is None or self._hall is None:
                return
            loop, thread, hall, self._loop = self._loop, self._thread, self._hall, None
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(hall.session.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        hall.writer.close()

    def _started(self) -> Hall:
        """Start thread, loop and books, once."""
        with self._starting:
            if self._closed:
                raise RuntimeError("the gateway is closed")
            if self._hall is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(loop,), name="agentd-gateway", daemon=True)
                self._thread.start()
                self._loop = loop
                self._hall = asyncio.run_coroutine_threadsafe(self._furnish(), loop).result()
            return self._hall

    async def _furnish(self) -> Hall:
        prices = Prices(self._settings.prices)
        writer = Writer(self._store, self._budgets)
        writer.start()
        loading = asyncio.get_running_loop().run_in_executor(None, prices.load)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("user-agent",),
            read_bufsize=1 << 18,
            max_line_size=1 << 16,
            max_field_size=1 << 16,
        )
        return Hall(
            store=self._store,
            clock=self._store.clock,
            upstreams=self._upstreams,
            budgets=self._budgets,
            settings=self._settings,
            writer=writer,
            prices=prices,
            metrics=Metrics(),
            session=session,
            loading=loading,
        )

    async def _open(
        self, hall: Hall, stack: AsyncExitStack, grant: Grant, door: Door, place: Path | tuple[str, int]
    ) -> int | None:
        row = key_row(grant, door.key_hash, door.name, hall.clock)
        await asyncio.to_thread(spending.add_key, self._store, row)
        return await stack.enter_async_context(listening(hall, door, place))

    async def _shut(self, hall: Hall, stack: AsyncExitStack, door: Door) -> None:
        with suppress(StoreError):  # without its door the key opens nothing
            await asyncio.to_thread(spending.revoke, self._store, key_hash=door.key_hash)
        await stack.aclose()
        with suppress(StoreError):  # the books go on trying
            await hall.writer.flush()

    def _in_loop(self, work: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
        assert self._loop is not None
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
