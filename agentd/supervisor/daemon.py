"""The supervisor's life: `once` carries one tick's runs to their end, `serve` ticks until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agentd.agents import adapter_of, executable_of
from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.errors import AgentdError, StoreError
from agentd.git.mirror import open_mirror
from agentd.model import Run
from agentd.run import engine
from agentd.run.context import Context, executor_id
from agentd.run.process import tree_is_gone
from agentd.store import runs
from agentd.store.connection import bind, open_store
from agentd.store.projections import project
from agentd.supervisor.doors import open_github
from agentd.supervisor.tick import Memory, Tick, tick

BEAT_SECONDS = 0.5
STOP_SECONDS = 10.0


@dataclass
class Stop:
    """What signals have asked for: the first one drains, the second one stops now."""

    asked: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        self.asked += 1
        self.changed.set()


def open_context(settings: Settings, environ: Mapping[str, str], show: Callable[..., None] | None = None) -> Context:
    """Open all doors. Raises AgentdError, one line for each thing that is wrong with token, repository or base."""
    clock = SystemClock()
    store = open_store(settings.database_url, settings.state_dir, clock)
    bind(store, settings.repo)
    github = open_github(settings, store, clock)
    profile = settings.profile_named(settings.default_profile)
    adapter_of(profile).probe(executable_of(profile), environ)
    executor = executor_id()
    return Context(
        settings=settings,
        store=store,
        github=github,
        mirror=open_mirror(settings),
        clock=clock,
        executor=executor,
        environ=environ,
        holder=f"{store.installation_id()}/{executor}",
        show=show,
    )


async def once(context: Context, *, wait: bool, told: Callable[[Tick], None]) -> list[Run]:
    """One whole tick, and the runs that it started or revived, carried to their end; those runs."""
    with _signals() as stop:
        engine.launch(context)
        try:
            done = await tick(context, Memory())
            told(done)
            ids = [run.run_id for run in done.started] + done.revived
            if wait:
                await _until_ended(context, ids, stop)
            return [run for run_id in ids if (run := runs.get_run(context.store, run_id)) is not None]
        finally:
            project(context.store, context.settings.state_dir, context.settings.log_dir)


async def serve(context: Context, told: Callable[[Tick], None]) -> None:
    """Tick until a signal: the first lets running runs end and starts none, the second stops them, work saved."""
    memory = Memory()
    with _signals() as stop:
        engine.launch(context)
        try:
            while not stop.asked:
                told(await tick(context, memory))
                project(context.store, context.settings.state_dir, context.settings.log_dir)
                await _rest(context, stop)
            ours = [run_id for run_id, executor in (await engine.active()).items() if executor == context.executor]
            await _until_ended(context, ours, stop)
        finally:
            project(context.store, context.settings.state_dir, context.settings.log_dir)


class _signals:  # used as a context manager only
    """SIGTERM and SIGINT count as requests to stop while inside."""

    def __enter__(self) -> Stop:
        self.stop = Stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop.signal)
        return self.stop

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def _rest(context: Context, stop: Stop) -> None:
    """Wait for the next poll; a run that ends frees a slot, so it ends the rest."""
    busy = len(runs.active_runs(context.store))
    until = context.clock.boottime() + context.settings.poll_interval_seconds
    while (left := until - context.clock.boottime()) > 0 and not stop.asked:
        pause = min(left, BEAT_SECONDS) if busy else left
        try:
            await asyncio.wait_for(stop.changed.wait(), pause)
        except TimeoutError:
            pass
        if busy:
            _heed(context)
            if len(runs.active_runs(context.store)) < busy:
                return


async def _until_ended(context: Context, run_ids: list[str], stop: Stop) -> None:
    """Wait for runs, until also their last words are said; a second signal stops them now."""
    while any(run.run_id in run_ids for run in runs.active_runs(context.store)) or not (
        await engine.active()
    ).keys().isdisjoint(run_ids):
        if stop.asked >= 2:
            context.stopping.set()
            await _trees_gone(context, run_ids)
            return
        stop.changed.clear()
        try:
            await asyncio.wait_for(stop.changed.wait(), BEAT_SECONDS)
        except TimeoutError:
            pass
        _heed(context)


async def _trees_gone(context: Context, run_ids: list[str]) -> None:
    until = context.clock.boottime() + STOP_SECONDS
    while context.clock.boottime() < until:
        if all(tree_is_gone(context.run_dir(run_id)) for run_id in run_ids):
            return
        await asyncio.sleep(0.05)
    raise AgentdError(f"processes of a run are still there {STOP_SECONDS:.0f} s after they were told to stop")


def _heed(context: Context) -> None:
    """Obey what the store and the runs say. Raises StoreError when a run could not be recorded any more."""
    if context.broken:
        raise StoreError(context.broken[0])
    for run in runs.active_runs(context.store):
        if run.cancel_reason:
            context.cancels.setdefault(run.run_id, run.cancel_reason)


def leave(status: int) -> None:
    """End this process at once, as a crash would.

    Runs that are not over must record nothing more: they go on in the next incarnation. And the engine's background
    threads sleep for seconds before they notice a polite shutdown.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
