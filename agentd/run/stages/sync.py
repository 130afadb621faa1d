"""Sync: the task's branch is brought up to the base, before the agent begins and before its work is published.

All of it is worked out in memory; a workspace is touched only by what is known to work.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from agentd.errors import GitError
from agentd.git import mirror as git_mirror
from agentd.git.naming import branch_of
from agentd.git.sync import Synced, sync
from agentd.git.update import InTheWay, advance
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.stages.start import bring, keep, workspace
from agentd.states import RunState
from agentd.store import attempts


async def synchronise(desk: Desk) -> dict[str, Any]:
    """Where work begins: {base, branch, start, parents, conflicts, told}. Raises RunEnd on a conflict.

    The branch is the remote's, or what the last run could not join with the base. When joining fails again, and the
    profile leaves that to the agent, work begins from both with the conflicts marked.
    """
    mirror, run_id = desk.context.mirror, desk.run.run_id
    desk.move(RunState.syncing)
    base = _base(desk)
    branch = git_mirror.remote_branch(mirror, desk.task.task_id)
    ours = _unpublished(desk, branch) or branch
    synced = await asyncio.to_thread(sync, mirror, ours, base)
    _tell(desk, synced)
    start, parents, conflicts = synced.sha, [synced.sha], list[str]()
    if synced.status == "conflict":
        if not _is_for_agent(desk, synced):
            raise conflict(desk, synced, base)
        parents, conflicts = [synced.sha, base], list(synced.files)
        start = _marked(desk, synced, parents)
    mirror.git("update-ref", f"refs/agentd/runs/{run_id}/start", start)
    if start not in {base, branch}:
        await keep(desk, start)
    return {
        "base": base,
        "branch": branch or "",
        "start": start,
        "parents": parents,
        "conflicts": conflicts,
        "told": synced.reason if conflicts else "",
    }


async def again(desk: Desk, began: dict[str, Any], made: dict[str, Any], is_last: bool) -> dict[str, Any]:
    """What is verified, brought up to what base and branch are by now: {moved, began, made}. Raises RunEnd.

    When nothing has moved, or `is_last` and it can be merged as it is, all stays; else it has to be verified again.
    """
    mirror, commit = desk.context.mirror, made["commit"]
    desk.require_wanted()

    def look() -> tuple[str, str]:
        base = git_mirror.fetch(mirror, desk.task.task_id)
        bring(desk, commit)
        return base, git_mirror.remote_branch(mirror, desk.task.task_id) or ""

    base, branch = await outside(desk, "look for what has moved", look)
    if branch == commit:
        return {"moved": False, "began": began, "made": made}  # pushed by an incarnation before us
    synced = await asyncio.to_thread(_join, desk, commit, base, branch if branch != began["branch"] else "")
    if synced.status == "conflict":
        desk.move(RunState.syncing)
        _tell(desk, synced)
        mirror.git("update-ref", unpublished_ref(desk.task.task_id), commit)
        raise conflict(desk, synced, base)
    if synced.sha == commit or (is_last and branch == began["branch"]):
        return {"moved": False, "began": began, "made": made}
    if is_last:
        mirror.git("update-ref", unpublished_ref(desk.task.task_id), commit)
        raise RunEnd(RunState.conflict_retry, f"{desk.run.branch}: somebody keeps pushing to it", cause="conflict")
    desk.move(RunState.syncing)
    _tell(desk, synced)
    await keep(desk, synced.sha)
    tree = git_mirror.tree_of(mirror, synced.sha)
    parents = git_mirror.parents_of(mirror, synced.sha)
    start = parents[0] if len(parents) == 1 else synced.sha
    place = await workspace(desk, began, commit)
    with suppress(InTheWay):  # then whoever needs the workspace next gets it made anew, and this one set aside
        await asyncio.to_thread(advance, mirror, place, desk.run_dir, made["tree"], synced.sha, start)
    return {
        "moved": True,
        "began": began | {"base": base, "branch": branch, "start": start, "parents": [start], "conflicts": []},
        "made": made | {"commit": synced.sha, "tree": tree},
    }


def _join(desk: Desk, commit: str, base: str, foreign: str) -> Synced:
    """The commit on top of the base, and before that on top of what somebody has pushed to the branch meanwhile."""
    mirror = desk.context.mirror
    if foreign:
        joined = sync(mirror, commit, foreign)
        if joined.status != "clean":
            return joined
        commit = joined.sha
    return sync(mirror, commit, base)


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


def unpublished_ref(task_id: str) -> str:
    """Where the mirror keeps verified work that conflicts with the base, for the task's next run to go on from."""
    branch_of(task_id)  # checks it
    return f"refs/agentd/unpublished/{task_id}"


def _unpublished(desk: Desk, branch: str | None) -> str | None:
    """Work that could not be published, unless the branch was changed since by somebody else."""
    mirror = desk.context.mirror
    found = git_mirror.resolve(mirror, unpublished_ref(desk.task.task_id))
    if found is None or (branch is not None and not git_mirror.is_ancestor(mirror, branch, found)):
        return None
    return found


def _is_for_agent(desk: Desk, synced: Synced) -> bool:
    """Whether the agent is to resolve the conflict: on a second attempt, where the profile says so."""
    counted = attempts.counts(desk.context.store, desk.task.task_id).get("conflict", 0)
    return bool(synced.marked) and counted > 0 and desk.profile.on_conflict == "agent"


def _marked(desk: Desk, synced: Synced, parents: list[str]) -> str:
    """A commit of both sides with the conflicts marked, for the workspace only; it is never pushed."""
    mirror = desk.context.mirror
    options = [word for parent in parents for word in ("-p", parent)]
    message = b"Both sides, with their conflicts marked\n"
    return mirror.git("commit-tree", synced.marked, *options, stdin=message, environment=mirror.author.environment())


def _base(desk: Desk) -> str:
    name = desk.context.settings.base_branch
    base = git_mirror.resolve(desk.context.mirror, f"refs/remotes/origin/{name}")
    if base is None:
        raise GitError(f"base branch {name!r} is not in the mirror")
    return base


def _tell(desk: Desk, synced: Synced) -> None:
    status = {"conflict": "non_lockfile_conflict"}.get(synced.status, synced.status)
    data = {"sync_status": status, "conflicted_files": list(synced.files), "message": synced.reason}
    desk.context.emit("branch_sync", desk.run, data, status="failed" if synced.status == "conflict" else "ok")
