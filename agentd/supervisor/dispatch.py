"""Dispatch: one transaction takes the slot, charges the attempt and stores the run; then the engine gets it."""

from __future__ import annotations

from agentd.clock import new_id
from agentd.git.naming import branch_of
from agentd.model import Profile, Run, Task
from agentd.run.context import Context, Order
from agentd.run.prompt import render
from agentd.states import RunState
from agentd.store import attempts, holds, runs
from agentd.store.runs import Fence


def admit_run(context: Context, task: Task, profile: Profile, issue_url: str, fence: Fence | None = None) -> Run | None:
    """The new run, stored and charged; None when meanwhile no slot is free or the task has a run.

    Nobody carries it yet: an executor with room takes it. Raises ConfigurationError for a prompt template that
    cannot be used, and what `fence` raises when this process may not decide any more.
    """
    settings, store, now = context.settings, context.store, context.clock.now()
    run_id = new_id(context.clock, f"{task.task_id.lower()}-")
    branch = branch_of(task.task_id)
    prompt = render(profile, task, repo=settings.repo, run_id=run_id, branch=branch, root=settings.repo_root)
    with store.write() as connection:
        busy = runs.active_tasks(store, connection)
        if fence is not None:
            fence(connection)
        if len(busy) >= settings.max_parallel or task.task_id in busy:
            return None
        run = Run(
            run_id=run_id,
            task_id=task.task_id,
            issue_number=task.issue_number,
            attempt=attempts.charge(store, connection, task.task_id, run_id),
            profile=profile.address,
            state=RunState.queued,
            branch=branch,
            title=task.title,
            workspace=str(settings.workspaces / task.task_id),
            log_path=str(context.log_path(run_id)),
            started_at=now,
            updated_at=now,
        )
        order = Order(task=task, profile=profile, prompt=prompt, sandbox=settings.sandbox)
        runs.add_run(store, connection, run, order.model_dump(mode="json"))
    holds.lift(store, task.task_id)
    selected = {"issue_url": issue_url, "dependencies": list(task.dependencies)}
    context.emit("task_selected", run, selected, source="supervisor")
    started = {"dry_run": False, "worker_log_path": run.log_path}
    context.emit("dispatch_started", run, started, source="supervisor")
    return run
