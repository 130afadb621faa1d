"""The supervisor's life: `once` carries one tick's runs to their end, `serve` ticks until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from agentd.agents import adapter_of, executable_of
from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.errors import AgentdError, StoreError
from agentd.git.mirror import open_mirror
from agentd.model import Run
from agentd.run import engine
from agentd.run.context import Context
from agentd.run.desk import OVERDUE
from agentd.run.executor import executor_id
from agentd.run.process import tree_is_gone
from agentd.store import executors, runs
from agentd.store.checkpoints import checkpoint, folder_of, written_at
from agentd.store.connection import bind, open_store
from agentd.store.projections import EventFiles, project
from agentd.supervisor.cleanup import clean_up, cleaned_at, long_ago
from agentd.supervisor.doors import open_github
from agentd.supervisor.host import Host, require_near_versions
from agentd.supervisor.process import NUDGE, lift_file_limit, make_log_dir, tell_draining
from agentd.supervisor.records import make_records
from agentd.supervisor.retry import resumable
from agentd.supervisor.tick import Memory, Tick, tick

BEAT_SECONDS = 0.5
WORKER_SECONDS = 1.0
STORE_SECONDS = 2.0
STOP_SECONDS = 10.0
RECORD_SECONDS = 5.0


@dataclass
class Stop:
    """What signals have asked for: the first one drains, the second one stops now; another kind asks for a poll."""

    asked: int = 0
    nudged: bool = False
    """somebody wants the next poll now"""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        self.asked += 1
        self.changed.set()

    def hang_up(self) -> None:
        """The terminal is gone, which may be told twice: drain."""
        if not self.asked:
            self.signal()

    def nudge(self) -> None:
        self.nudged = True
        self.changed.set()


def open_context(settings: Settings, environ: Mapping[str, str], show: Callable[..., None] | None = None) -> Context:
    """Open all doors. Raises AgentdError, one line for each thing that is wrong with token, repository or base."""
    lift_file_limit()
    clock = SystemClock()
    make_log_dir(settings.log_dir)  # before a folder in it is made
    store = open_store(settings.database_url, settings.state_dir, clock)
    bind(store, settings.repo)
    require_near_versions(store)
    github = open_github(settings, store, clock)
    profile = settings.profile_named(settings.default_profile)
    adapter_of(profile).probe(executable_of(profile), environ)
    executor = executor_id(settings.state_dir)
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
    memory = Memory()
    with _signals() as stop:
        await engine.launch(context)
        async with _present(context, memory):
            done = await tick(context, memory, take=wait)
            told(done)
            ids = [run.run_id for run in done.started] + done.revived
            if wait:
                await _until_ended(context, memory, ids, stop)
            return [run for run_id in ids if (run := runs.get_run(context.store, run_id)) is not None]


async def serve(context: Context, up: Callable[[], None], told: Callable[[Tick], None]) -> None:
    """Tick until a signal: the first lets running runs end and starts none, the second stops them, work saved.

    `up` is called before the first tick, when nothing more can keep this process from it.
    """
    memory = Memory()
    with _signals() as stop:
        await engine.launch(context)
        up()
        async with _present(context, memory):
            while not stop.asked:
                try:
                    told(await tick(context, memory))
                    _project(context, memory)
                    _clean_up(context, memory, remote=True)
                    await asyncio.to_thread(_checkpoint, context)
                    _record(context, memory)
                    await _rest(context, memory, stop)
                except StoreError as error:
                    await _without_store(context, memory, error, stop)
            await _until_ended(context, memory, list(context.carried), stop)


async def work(context: Context, told: Callable[[str], None]) -> None:
    """Carry runs that a supervisor elsewhere admits, until a signal as for `serve`."""
    host = Host(context, leads=False)
    memory = Memory(host=host)
    with _signals() as stop:
        await engine.launch(context)
        async with _present(context, memory):
            while not stop.asked:
                try:
                    await asyncio.to_thread(host.beat)
                    for run_id in await host.go_on() + await host.take():
                        told(f"carry {run_id}")
                    _heed(context)
                    _clean_up(context, memory, remote=False)
                    _record(context, memory)
                    await host.rest(not context.carried)
                    await _pause(stop, WORKER_SECONDS)
                except StoreError as error:
                    await _without_store(context, memory, error, stop)
            await _until_ended(context, memory, list(context.carried), stop)


@asynccontextmanager
async def _present(context: Context, memory: Memory) -> AsyncIterator[None]:
    """In the end: what others must know of this process, and the files that are made from the store."""
    try:
        yield
    finally:
        await asyncio.to_thread(context.close_gateways)
        with suppress(StoreError):
            if memory.lead is not None:
                await memory.lead.give_back()
            if not context.carried:
                executors.leave(context.store, context.executor)
            if memory.recording is not None:
                await memory.recording
            await asyncio.to_thread(_records, context)
            _project(context, memory)


async def _without_store(context: Context, memory: Memory, error: StoreError, stop: Stop) -> None:
    """Wait for a database that is gone; a file that cannot be used ends the process. Raises StoreError."""
    if context.store.is_sqlite:
        raise error
    print(f"agentd: {error}; trying again", file=sys.stderr, flush=True)
    if memory.lead is not None:
        memory.lead.since = context.clock.boottime()
    await _pause(stop, STORE_SECONDS)


class _signals:  # used as a context manager only
    """SIGTERM and SIGINT count as requests to stop while inside, and SIGHUP unless it is ignored (nohup)."""

    def __enter__(self) -> Stop:
        self.stop = stop = Stop()
        self.heard = {signal.SIGTERM: stop.signal, signal.SIGINT: stop.signal, NUDGE: stop.nudge}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self.heard[signal.SIGHUP] = stop.hang_up
        for number, act in self.heard.items():
            asyncio.get_running_loop().add_signal_handler(number, act)
        return stop

    def __exit__(self, *_: object) -> None:
        for number in self.heard:
            asyncio.get_running_loop().remove_signal_handler(number)


async def _rest(context: Context, memory: Memory, stop: Stop) -> None:
    """Wait for the next poll; a run that ends frees a slot, so it ends the rest."""
    assert memory.host is not None
    busy = len(runs.wanted_ends(context.store))
    until = context.clock.boottime() + context.settings.poll_interval_seconds
    while (left := until - context.clock.boottime()) > 0 and not stop.asked and not stop.nudged:
        # Alone and with nothing to do there is nobody to report to, and nothing to take.
        alone = context.store.is_sqlite and not busy
        await memory.host.rest(not context.carried)
        await _pause(stop, left if alone else min(left, BEAT_SECONDS if context.carried else WORKER_SECONDS))
        if alone:
            continue
        _heed(context)
        await asyncio.to_thread(memory.host.beat)
        await memory.host.go_on()
        await memory.host.take()
        if len(runs.wanted_ends(context.store)) < busy:
            return
    if stop.nudged and not stop.asked:
        stop.nudged = False
        stop.changed.clear()


async def _pause(stop: Stop, seconds: float) -> None:
    """Sleep until a signal at most: one that asks for a poll ends one sleep, one that asks for the end all of them."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.changed.wait(), seconds)
    if not stop.asked:
        stop.changed.clear()


async def _until_ended(context: Context, memory: Memory, run_ids: list[str], stop: Stop) -> None:
    """Wait for runs, until also their last words are said; a second signal stops them now.

    One that nobody has taken yet, because an earlier run's last words take up its place, is taken meanwhile; with
    what else is taken it is added to the list. After a signal it waits for the next start.
    """
    assert memory.host is not None
    while stop.asked < 2:
        stop.changed.clear()
        if stop.asked and not memory.host.leaving:
            memory.host.leave()
            with suppress(OSError):
                tell_draining(context.settings.state_dir)
        try:
            if (runs.wanted_ends(context.store).keys() | (await engine.active()).keys()).isdisjoint(run_ids):
                return
            _heed(context)
            await asyncio.to_thread(memory.host.beat)
            await memory.host.go_on()
            nobodys = {run.run_id for run in runs.unfinished_runs(context.store, ()) if not run.executor}
            if stop.asked:
                run_ids = [run_id for run_id in run_ids if run_id not in nobodys]
            elif not nobodys.isdisjoint(run_ids):
                run_ids += await memory.host.take()
            await _pause(stop, BEAT_SECONDS)
        except StoreError as error:
            await _without_store(context, memory, error, stop)
    context.stopping.set()
    await _trees_gone(context, run_ids)


def _project(context: Context, memory: Memory) -> None:
    """Bring the files up to the store that other programs read. What cannot be written now, a later call catches up."""
    ledger = context.settings.ledger
    files = EventFiles(context.settings.events, int(ledger.events_max_mib * (1 << 20)), ledger.events_kept)
    try:
        project(context.store, context.settings.state_dir, files)
    except OSError as error:
        if str(error) != memory.unwritten:
            said = f"{files.path} and runs.json are behind, and written as soon as they can be: {error}"
            print(f"agentd: {said}", file=sys.stderr, flush=True)
        memory.unwritten = str(error)
    else:
        memory.unwritten = ""


def _record(context: Context, memory: Memory) -> None:
    """Evidence and traces of runs that have ended, beside everything else, and not without a break."""
    now = context.clock.boottime()
    if now >= memory.record_due and (memory.recording is None or memory.recording.done()):
        memory.record_due = now + RECORD_SECONDS
        memory.recording = _beside("evidence and traces", asyncio.to_thread(_records, context))


def _records(context: Context) -> None:
    try:
        make_records(context)
    except AgentdError as error:  # of the store; it is told where it keeps work from being done
        print(f"agentd: evidence and traces: {error}", file=sys.stderr, flush=True)


def _checkpoint(context: Context) -> None:
    """Sign from time to time how far the ledger has come, restarts or not."""
    minutes, folder = context.settings.ledger.checkpoint_minutes, folder_of(context.settings.state_dir)
    if not minutes or 0 <= context.clock.now().timestamp() - written_at(folder) < minutes * 60:
        return
    try:
        checkpoint(context.store, folder)
    except (AgentdError, OSError) as error:
        print(f"agentd: checkpoint of the ledger: {error}", file=sys.stderr, flush=True)


def _clean_up(context: Context, memory: Memory, *, remote: bool) -> None:
    """Clean up beside everything else, from time to time, restarts or not. What it cannot do it tries again then."""
    minutes, now = context.settings.retention.every_minutes, context.clock.now().timestamp()
    if not minutes or (memory.cleaning is not None and not memory.cleaning.done()):
        return
    try:
        if 0 <= now - cleaned_at(context) < minutes * 60:
            return
    except OSError as error:
        print(f"agentd: clean-up: {error}", file=sys.stderr, flush=True)
        return

    async def act() -> None:
        try:
            await asyncio.to_thread(clean_up, context, remote=remote)
            if remote:
                await engine.prune(long_ago(context), resumable(context.store))
        except (AgentdError, OSError) as error:
            print(f"agentd: clean-up: {error}", file=sys.stderr, flush=True)

    memory.cleaning = _beside("clean-up", act())


def _beside(what: str, act: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Do it beside everything else. Nobody waits for it, so an end that was not foreseen is told here."""

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"agentd: {what}: an error inside agentd", file=sys.stderr)
            traceback.print_exception(error, file=sys.stderr)
            sys.stderr.flush()

    task = asyncio.create_task(act)
    task.add_done_callback(tell)
    return task


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
    for run_id, reason in runs.wanted_ends(context.store).items():
        if reason:
            context.cancels.setdefault(run_id, reason)
    limit_seconds = context.settings.max_run_minutes * 60
    for run_id, since in context.carried.items():
        if limit_seconds and context.clock.boottime() - since > limit_seconds:
            context.cancels.setdefault(run_id, OVERDUE)


def leave(status: int) -> None:
    """End this process at once, as a crash would.

    Runs that are not over must record nothing more: they go on in the next incarnation. And the engine's background
    threads sleep for seconds before they notice a polite shutdown.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
