"""A supervisor inside the test's own process, whose waits take no time: ticks and runs against the practice GitHub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentd.clock import SystemClock
from agentd.git.mirror import open_mirror
from agentd.github.client import connect
from agentd.loading import load
from agentd.practice import PracticeGitHub
from agentd.run import engine, workflow
from agentd.run.context import Context
from agentd.run.executor import executor_id
from agentd.store import holds, runs
from agentd.store.connection import open_store
from agentd.supervisor.tick import Memory, Tick, tick
from tests.e2e.conftest import environment


class JumpingClock(SystemClock):
    """The machine's clocks; every wait moves the wall clock on instead. Leases run on boot time, which never jumps."""

    def __init__(self, really_seconds: float = 0.0) -> None:
        self.ahead = timedelta()
        self.really_seconds = really_seconds
        """what of each wait is really waited, in seconds"""

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def jump(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)

    def pause(self, seconds: float) -> None:
        time.sleep(min(seconds, self.really_seconds))
        self.jump(seconds)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, self.really_seconds))
        self.jump(seconds)


@dataclass
class Inside:
    """What `agentd start` keeps in one process, moved on by hand."""

    context: Context
    clock: JumpingClock
    memory: Memory

    async def tick(self) -> Tick:
        """One tick, and every run of this process carried to its end, the release of its claim included."""
        done = await tick(self.context, self.memory)
        while await engine.active():
            await asyncio.sleep(0.02)
        return done

    def close(self) -> None:
        """Give back what it holds open: one process plays many installations."""
        self.context.close_gateways()
        self.context.telemetry.close()
        self.context.store.close()

    async def until(self, reached: Callable[[], bool], ticks: int = 6) -> None:
        """Ticks, each after all holds are over, until it is reached; at most so many."""
        for _ in range(ticks):
            await self.tick()
            if reached():
                return
            self.clock.jump(3600)
        store = self.context.store
        told = [f"{run.run_id} {run.state} {run.reason}" for run in runs.latest_runs(store)]
        raise AssertionError(
            "\n".join([f"not reached after {ticks} ticks", *told, *map(str, holds.holds(store).values())])
        )


def inside(hub: PracticeGitHub, repo: str, folder: Path, timeout_seconds: int = 10) -> Inside:
    """An installation on `repo` in `folder`, with an agent that writes one file; the engine is launched elsewhere.

    With less than the usual time for an answer from GitHub, waits are real up to that time.
    """
    folder.mkdir(parents=True)
    (folder / "agentd.toml").write_text(
        'verify_command = "true"\n'
        '[profiles.build]\nadapter = "command"\ncommand = ["sh", "-c", "cat > work.txt"]\nprompt = "stdin"\n'
    )
    environ = environment(folder, hub, hub.add_token("agentd-bot")) | {"REPO": repo, "REPO_ROOT": str(folder)}
    for name, below in (("AGENT_STATE_DIR", "state"), ("AGENT_LOG_DIR", "logs"), ("WORKTREE_BASE", "worktrees")):
        environ[name] = str(folder / below)
    settings = load(environ=environ, directory=folder).settings
    clock = JumpingClock(timeout_seconds if timeout_seconds < 10 else 0.0)
    executor = executor_id(settings.state_dir)
    store = open_store("", settings.state_dir, clock)
    github = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        repo,
        clock=clock.now,
        sleep=clock.pause,
        timeout_seconds=timeout_seconds,
    )
    context = Context(
        settings=settings,
        store=store,
        github=github,
        mirror=open_mirror(settings),
        clock=clock,
        executor=executor,
        environ=environ,
        holder=f"{store.installation_id()}/{executor}",
        sleep=clock.wait,
    )
    workflow.use(context)
    return Inside(context, clock, Memory())
