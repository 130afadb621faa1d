"""Start: the task's branch is brought up to the base in memory, the workspace is made, and people are told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from agentd.errors import ConfigurationError, GitError, GitHubError
from agentd.git import mirror as git_mirror
from agentd.git.push import push_work
from agentd.git.sync import Synced, sync
from agentd.git.workspace import Workspace, prepare
from agentd.github.comments import upsert_sticky
from agentd.github.labels import set_status
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.layout import layout_for
from agentd.run.report import STICKY, sticky_body
from agentd.run.views import run_inside
from agentd.states import RunState


async def fetch(desk: Desk) -> None:
    """Bring base, branch and claim of the task into the mirror. Raises GitError."""
    await asyncio.to_thread(git_mirror.fetch, desk.context.mirror, desk.task.task_id)


async def announce(desk: Desk) -> dict[str, Any]:
    """Say on GitHub that work has begun: label and sticky comment."""
    desk.require_wanted()
    desk.move(RunState.preparing)

    await _tell(desk)
    return {}


async def announce_again(desk: Desk) -> None:
    """The same for a run that begins at a later stage, each time that it is taken up. Raises RunEnd."""
    desk.require_wanted()
    try:
        await _tell(desk)
    except GitHubError as error:
        raise RunEnd(RunState.failed, str(error)) from None


async def _tell(desk: Desk) -> None:
    context, number = desk.context, desk.task.issue_number

    def tell() -> None:
        set_status(context.github, number, "status:in-progress")
        upsert_sticky(context.github, number, STICKY, sticky_body(desk, RunState.running))

    await outside(desk, "label and comment at the start", tell)
    desk.note(label="status:in-progress")
    labels = {"add_labels": ["status:in-progress"], "remove_labels": ["status:todo"]}
    context.emit("issue_labeled", desk.run, labels)


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
    if synced.sha not in {base, branch}:
        await keep(desk, synced.sha)
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


async def workspace(desk: Desk, start: dict[str, Any], kept: str = "") -> Workspace:
    """The workspace with what the run has made so far, made or taken up again.

    Every incarnation asks, because a workspace is one host's. `kept` is the run's last commit, empty for none yet.
    """
    context = desk.context
    path = context.settings.workspaces / desk.task.task_id
    desk.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make() -> Workspace:
        bring(desk, start["start"], kept)
        inside = run_inside if desk.is_sandboxed else None
        try:
            layout = layout_for(context.settings, context.mirror, is_sandboxed=desk.is_sandboxed)
        except ConfigurationError as error:
            raise GitError(str(error)) from None  # as whatever else keeps a workspace from being made
        return prepare(context.mirror, path, desk.run_dir, desk.run.branch, start["start"], kept, layout, inside)

    return await asyncio.to_thread(make)


def bring(desk: Desk, *commits: str) -> None:
    """Fetch what another host has made of the run, unless the commits are in this one's mirror. Raises GitError."""
    if not all(git_mirror.has_commit(desk.context.mirror, sha) for sha in commits if sha):
        git_mirror.fetch_work(desk.context.mirror, desk.task.task_id)


async def keep(desk: Desk, commit: str) -> None:
    """In a fleet, put the run's commit where another host can go on from it; one host has it in its own mirror."""
    if desk.context.store.is_sqlite:
        return

    def send() -> None:
        push_work(desk.context.mirror, desk.task.task_id, commit, desk.holding.name)

    await outside(desk, "work so far", send)


async def drop(desk: Desk) -> None:
    """Take off the remote what `keep` put there; if that cannot be, the task's next run replaces it.

    Raises ClaimLost: then whoever goes on with the run does it.
    """
    with suppress(GitError, RunEnd):
        await keep(desk, "")
