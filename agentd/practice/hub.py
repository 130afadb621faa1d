"""The practice GitHub as an object: a server in its own thread, and what people and circumstances do to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from aiohttp import web

from agentd.practice import people
from agentd.practice.acts.issues import delete_issue, transfer_issue
from agentd.practice.faults import Drop, Fault
from agentd.practice.log import RequestRecord
from agentd.practice.people import Files
from agentd.practice.seed import sow
from agentd.practice.server import OnResponse, application
from agentd.practice.switches import Config
from agentd.practice.world import Json, World

T = TypeVar("T")
HOST = "127.0.0.1"
GRACE_SECONDS = 1.0


class PracticeGitHub:
    """A GitHub on loopback from `with` to its end. `root` will hold the bare repositories, as owner/name.git.

    All methods may be called from any thread but the server's own.
    """

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        clock: Callable[[], datetime] | None = None,
        on_response: OnResponse | None = None,
    ) -> None:
        self.world = World(Path(root).resolve(), clock)
        self._app = application(self.world, on_response)
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="practice-github", daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT"""
        return self.world.origin

    @property
    def log(self) -> list[RequestRecord]:
        """Every request so far, in the order in which they were answered."""
        return self.world.log

    @property
    def deliveries(self) -> list[Json]:
        """Every webhook delivery so far: event, action, url, status, payload."""
        return self.world.deliveries

    def __enter__(self) -> PracticeGitHub:
        self.world.root.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        try:
            self._do(self._start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=GRACE_SECONDS, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        self.world.origin = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for repo in self.world.repos.values():
            repo.git.close()
        await self._loop.shutdown_default_executor()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        async def work() -> T:
            return function(*args)

        return self._do(work())

    def add_user(self, login: str, id: int | None = None, type: str = "User") -> int:
        """Its numeric id. `type` is User, Bot or Organization."""
        return self._call(self.world.add_user, login, id, type).id

    def add_repo(
        self,
        full_name: str,
        *,
        private: bool = False,
        default_branch: str = "main",
        files: Files | None = None,
    ) -> Path:
        """The path of the bare repository, with one commit of `files` (default: a README)."""
        repo = self._do(people.add_repo(self.world, full_name, private, default_branch, files))
        return repo.git.path

    def grant(self, full_name: str, login: str, role: str) -> None:
        """admin, maintain, write, triage, read or none."""
        self._call(people.grant, self.world, full_name, login, role)

    def add_token(
        self, login: str, *, scopes: Sequence[str] = ("repo",), read_only: bool = False, value: str | None = None
    ) -> str:
        """A token of the user. `read_only` makes a fine-grained one without write permissions."""
        return self._call(self.world.add_token, login, tuple(scopes), read_only, value).value

    def fault(
        self,
        method: str = ".*",
        path: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        times: int = 1,
        after: bool = False,
        drop: Drop | None = None,
        delay: float = 0.0,
    ) -> None:
        """What goes wrong with the next `times` requests that match; see Fault."""
        fault = Fault(method, path, status, dict(headers or {}), body, times, after, drop, delay)
        self._call(self.world.faults.append, fault)

    def set_rate_limit(self, limit: int = 5000, remaining: int | None = None, reset_in: int = 3600) -> None:
        """New primary limits for everyone, `reset_in` seconds long."""
        self._call(self.world.limits.set, limit, remaining, reset_in)

    def configure(self, **switches: Any) -> None:
        """Turns switches of Config."""

        def change() -> None:
            self.world.config = replace(self.world.config, **switches)

        self._call(change)

    @property
    def config(self) -> Config:
        return self.world.config

    def create_issue(
        self, repo: str, title: str, body: str | None = "", labels: Sequence[str] = (), author: str = "alice"
    ) -> int:
        """The number of a new issue; its author's rights are not checked."""
        return self._do(people.create_issue(self.world, repo, title, body, labels, author))

    def delete_issue(self, repo: str, number: int) -> None:
        """The issue is 410 from now on."""

        def work() -> None:
            found = people.repo_of(self.world, repo)
            delete_issue(self.world, people.issue_of(found, number), found.owner)

        self._call(work)

    def transfer_issue(self, repo: str, number: int, other: str) -> int:
        """Its number in the other repository, to which the old one redirects from now on."""

        def work() -> int:
            found, target = people.repo_of(self.world, repo), people.repo_of(self.world, other)
            return transfer_issue(self.world, people.issue_of(found, number), target, found.owner).number

        return self._call(work)

    def commit(self, repo: str, branch: str, files: Files, message: str = "change", author: str = "alice") -> str:
        """A person's push of one commit (None deletes a file); its sha."""
        return self._do(people.commit(self.world, repo, branch, files, message, author))

    def merge(self, repo: str, number: int, method: str = "merge", user: str = "alice") -> str:
        """A person merges; the sha of the base branch afterwards."""
        return self._do(people.merge(self.world, repo, number, method, user))

    def add_webhook(self, repo: str, url: str, secret: str | None = None, events: Sequence[str] = ("*",)) -> int:
        """The id of the hook."""
        return self._call(people.add_webhook, self.world, repo, url, secret, events)

    def sow(self, seed: Json) -> dict[str, list[str]]:
        """Fills it from a seed (see seed.sow); the tokens by login."""
        return self._do(sow(self.world, seed))
