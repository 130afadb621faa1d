"""Dry runs: on a copy of the store in memory, with a GitHub that only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.git.mirror import Mirror, known_mirror
from agentd.git.runner import Author
from agentd.run.context import Context
from agentd.run.executor import executor_id
from agentd.store.connection import Store, bind, open_store, scratch_copy
from agentd.supervisor.cleanup import Item, clean_up
from agentd.supervisor.doors import open_github
from agentd.supervisor.tick import Memory, Tick, tick


async def rehearse(settings: Settings, environ: Mapping[str, str]) -> Tick:
    """The plan as a tick would make it now. Writes nothing, here or on GitHub. Raises AgentdError."""
    mirror = Mirror(Path("/nonexistent"), "", "", settings.base_branch, Author("", ""))
    return await tick(_context(settings, environ, mirror), Memory(), dry_run=True)


def rehearse_clean_up(settings: Settings, environ: Mapping[str, str]) -> list[Item]:
    """What a clean-up would do now. Writes nothing. Raises AgentdError."""
    require_used(settings)
    mirror = known_mirror(settings)
    return clean_up(_context(settings, environ, mirror), dry_run=True) if mirror else []


def require_used(settings: Settings) -> None:
    """Raises ConfigurationError when no supervisor has ever run with this state directory."""
    if not _has_store(settings):
        raise ConfigurationError(f"{settings.state_dir}: holds no store; nothing has run here yet")


def _has_store(settings: Settings) -> bool:
    return bool(settings.database_url) or (settings.state_dir / "agentd.db").is_file()


def _context(settings: Settings, environ: Mapping[str, str], mirror: Mirror) -> Context:
    clock, executor = SystemClock(), executor_id(settings.state_dir)
    store = _copied(settings, clock)
    bind(store, settings.repo)
    return Context(
        settings=settings,
        store=store,
        github=open_github(settings, store, clock, read_only=True),
        mirror=mirror,
        clock=clock,
        executor=executor,
        environ=environ,
        holder=executor,
    )


def _copied(settings: Settings, clock: Clock) -> Store:
    if not _has_store(settings):
        return scratch_copy(None, clock)
    real = open_store(settings.database_url, settings.state_dir, clock, create=False, read_only=True)
    store = scratch_copy(real, clock)
    real.close()
    return store
