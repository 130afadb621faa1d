"""A dry run: the same tick on a copy of the store in memory, with a GitHub that only reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.git.mirror import Mirror
from agentd.git.runner import Author
from agentd.github.client import connect
from agentd.github.identity import check_rights
from agentd.model import Decision
from agentd.run.context import Context, executor_id
from agentd.store.connection import bind, open_store, scratch_copy
from agentd.store.etags import StoredEtags
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
    github = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        settings.repo,
        clock=clock.now,
        sleep=time.sleep,
        cache=StoredEtags(store),
    )
    # A token that may only read is good enough for a plan.
    wrong = [v for v in check_rights(github, settings.base_branch) if v.decision is not Decision.allow]
    fatal = [v for v in wrong if v.rule_id not in {"write_access"}]
    if fatal:
        raise ConfigurationError("; ".join(f"{v.observed}: {v.action}" if v.action else v.observed for v in fatal))
    executor = executor_id()
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
