"""A dry run: the same tick on a copy of the store in memory, with a GitHub that only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.git.mirror import Mirror
from agentd.git.runner import Author
from agentd.run.context import Context
from agentd.run.executor import executor_id
from agentd.store.connection import bind, open_store, scratch_copy
from agentd.supervisor.doors import open_github
from agentd.supervisor.tick import Memory, Tick, tick


async def rehearse(settings: Settings, environ: Mapping[str, str]) -> Tick:
    """The plan as a tick would make it now. Writes nothing, here or on GitHub. Raises AgentdError."""
    clock = SystemClock()
    here = settings.database_url or (settings.state_dir / "agentd.db").is_file()
    real = open_store(settings.database_url, settings.state_dir, clock, create=False, read_only=True) if here else None
    store = scratch_copy(real, clock)
    if real is not None:
        real.close()
    bind(store, settings.repo)
    github = open_github(settings, store, clock, read_only=True)
    executor = executor_id(settings.state_dir)
    context = Context(
        settings=settings,
        store=store,
        github=github,
        mirror=Mirror(Path("/nonexistent"), "", "", settings.base_branch, Author("", "")),
        clock=clock,
        executor=executor,
        environ=environ,
        holder=executor,
    )
    return await tick(context, Memory(), dry_run=True)
