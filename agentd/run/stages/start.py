"""Start: the task's branch is brought up to the base in memory, the workspace is made, and people are told."""

from __future__ import annotations

import asyncio
from typing import Any

from agentd.errors import GitError
from agentd.git import mirror as git_mirror
from agentd.git.sync import Synced, sync
from agentd.git.workspace import Workspace, prepare
from agentd.github.comments import upsert_sticky
from agentd.github.labels import set_status
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.report import STICKY, sticky_body
from agentd.states import RunState
from agentd.store.runs import update_run


async def fetch(desk: Desk) -> None:
    """Bring base, branch and claim of the task into the mirror. Raises GitError."""
    await asyncio.to_thread(git_mirror.fetch, desk.context.mirror, desk.task.task_id)


async def announce(desk: Desk) -> dict[str, Any]:
    """Say on GitHub that work has begun: label and sticky comment."""
    context, number = desk.context, desk.task.issue_number
    desk.require_wanted()
    desk.move(RunState.preparing)

    def tell() -> None:
        set_status(context.github, number, "status:in-progress")
        upsert_sticky(context.github, number, STICKY, sticky_body(desk, RunState.running))

    await outside(desk, "label and comment at the start", tell)
    update_run(context.store, desk.run.run_id, label="status:in-progress")
    labels = {"add_labels": ["status:in-progress"], "remove_labels": ["status:todo"]}
    context.emit("issue_labeled", desk.run, labels)
    return {}


async def synchronise(desk: Desk) -> dict[str, Any]:
    """Where work begins: {base, branch, start}. Raises RunEnd on a conflict between the branch and the base."""
    context, task_id = desk.context, desk.task.task_id
    desk.move(RunState.syncing)
    base = git_mirror.resolve(context.mirror, f"refs/remotes/origin/{context.settings.base_branch}")
    if base is None:
        raise GitError(f"base branch {context.settings.base_branch!r} is not in the mirror")
    branch = git_mirror.remote_branch(context.mirror, task_id)
    synced = await asyncio.to_thread(sync, context.mirror, branch, base)
    data = {"sync_status": synced.status, "conflicted_files": list(synced.files), "message": ""}
    context.emit("branch_sync", desk.run, data, status="ok" if synced.status == "clean" else "failed")
    if synced.status == "conflict":
        raise conflict(desk, synced, base)
    context.mirror.git("update-ref", f"refs/agentd/runs/{desk.run.run_id}/start", synced.sha)
    return {"base": base, "branch": branch or "", "start": synced.sha}


def conflict(desk: Desk, synced: Synced, base: str) -> RunEnd:
    """The end of a run whose branch and base cannot be joined; nothing has been touched."""
    context = desk.context
    data = {
        "recovery_type": "non_lockfile_conflict",
        "conflicted_files": list(synced.files),
        "message": f"{synced.sha} and {base} change the same lines",
        "attempt": desk.run.attempt,
        "max_retries": context.settings.retries.conflict,
    }
    context.emit("conflict_recovery", desk.run, data, status="failed")
    files = "\n".join(f"- `{name}`" for name in synced.files)
    detail = (
        f"Files in conflict between `{desk.run.branch}` ({synced.sha[:12]}) and "
        f"`{context.settings.base_branch}` ({base[:12]}):\n\n{files}\n\nTo resolve by hand:\n\n"
        f"```\ngit fetch origin && git switch {desk.run.branch} && git merge origin/{context.settings.base_branch}\n"
        f"# mend the files, then\ngit commit && git push\n```\nThen set `status:todo`."
    )
    return RunEnd(RunState.conflict_retry, "the branch conflicts with the base", cause="conflict", detail=detail)


async def workspace(desk: Desk, start: dict[str, Any]) -> Workspace:
    """The workspace, made or taken up again; every incarnation asks, because a workspace is one host's."""
    context = desk.context
    path = context.settings.workspaces / desk.task.task_id
    desk.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return await asyncio.to_thread(prepare, context.mirror, path, desk.run_dir, desk.run.branch, start["start"])
