"""A scripted model server: speaks what coding agents speak, and says what a script tells it to.

    with ScriptedModel() as model:
        model.script("edit", [{"shell": "echo hi > a.txt"}, {"text": "done"}])
        base = model.base_url(run="r1", script="edit")    # ANTHROPIC_BASE_URL=base, OPENAI_BASE_URL=f"{base}/v1"
        ...
        model.requests("r1")[0].body["tools"]

It runs in a thread of its own on a free loopback port. model_script.py lists what a step can be.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from agentd.practice.model_http import application
from agentd.practice.model_runs import PER_PROMPT, Recorded, Runs
from agentd.practice.model_script import parse_script

__all__ = ["PER_PROMPT", "Recorded", "ScriptedModel"]

_START_SECONDS = 10.0


class ScriptedModel:
    """The server; a context manager that is listening inside the `with` and gone after it."""

    def __init__(self) -> None:
        self._runs = Runs()
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="practice-model", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError(f"the practice model did not listen within {_START_SECONDS:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`"""
        return f"http://127.0.0.1:{self._port}"

    def script(self, name: str, steps: Sequence[Mapping[str, Any]]) -> None:
        """Add a script, or replace it. Raises ValueError naming the first step that cannot be understood."""
        self._runs.add_script(name, parse_script(steps))

    def route(self, needle: str, script: str) -> None:
        """Under the run name PER_PROMPT, prompts that hold `needle` follow `script` whatever the address says."""
        self._runs.add_route(needle, script)

    def base_url(self, run: str, script: str) -> str:
        """The base address for one run. Anthropic clients take it as it is, OpenAI clients with `/v1` behind it.

        Runs count their steps apart. With `run=PER_PROMPT` every different prompt is a run.
        """
        return f"{self.url}/r/{run}/{script}"

    def requests(self, run: str | None = None) -> list[Recorded]:
        """Every model request so far of one run, or of all, in order of arrival."""
        return self._runs.requests(run)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        # Without cancellation a step that hangs would outlive the agent that asked.
        runner = web.AppRunner(
            application(self._runs), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()
