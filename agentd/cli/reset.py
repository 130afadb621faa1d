"""`agentd reset`: let a task, or all of them, start from nothing again."""

from __future__ import annotations

from typing import Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings

TaskId = Annotated[str | None, typer.Argument(help="The task, for instance P0-01 or issue-7.")]
All = Annotated[bool, typer.Option("--all", help="Every task.")]


def reset(task_id: TaskId = None, config: ConfigFile = None, every: All = False) -> None:
    """Forget attempts, waiting times and dead claims of a task. Runs, branches and labels stay as they are."""
    from agentd.clock import SystemClock
    from agentd.errors import ConfigurationError
    from agentd.git.naming import TASK_ID
    from agentd.store import attempts, claims, holds, runs
    from agentd.store.connection import open_store

    if (task_id is None) != every:
        raise ConfigurationError("name a task, or give --all")
    settings = load_settings(config).settings
    store = open_store(settings.database_url, settings.state_dir, SystemClock(), create=False)
    busy = {run.task_id for run in runs.active_runs(store)}
    tasks, held = set(runs.latest_by_task(store)), set(holds.holds(store))
    if task_id is not None and task_id not in tasks | held | {row.claim.task_id for row in claims.list_claims(store)}:
        raise ConfigurationError(f"{task_id}: no such task here; `agentd runs list` shows them")
    known = sorted(tasks | {scope for scope in held if TASK_ID.fullmatch(scope)})
    chosen = known if every else [task_id or ""]
    for name in chosen:
        if name in busy:
            typer.echo(f"{name}: has a running run; `agentd runs cancel` ends it first", err=True)
            continue
        attempts.clear(store, name)
        claims.drop(store, name)
        lifted = holds.lift(store, name)
        typer.echo(f"{name}: attempts and claim forgotten{', hold lifted' if lifted else ''}")
    if not every and task_id in busy:
        raise typer.Exit(1)
