"""Sync: the task's branch is brought up to the base, before the agent begins and before its work is published.

All of it is worked out in memory; a workspace is touched only by what is known to work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agentd.errors import ConfigurationError, GitError
from agentd.git import mirror as git_mirror
from agentd.git.lock_conflicts import no_lockfiles
from agentd.git.lockfiles import manifests_of
from agentd.git.lockfiles.tool import Refused
from agentd.git.mirror import Mirror
from agentd.git.naming import branch_of
from agentd.git.push import name_taken
from agentd.git.sync import Synced, record_base, recorded_base, sync
from agentd.git.update import InTheWay, advance
from agentd.github.text import fence, one_line
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.enclosure import reading
from agentd.run.relock import relock
from agentd.run.stages.start import bring, keep, workspace
from agentd.states import RunState
from agentd.store import attempts

LOCKFILES, NOT_LOCKFILES = "lockfile_regeneration", "non_lockfile_conflict"
PASSING = frozenset({"unreachable", "timeout"})
"""Why lockfiles were not regenerated that says nothing about the conflict: not charged as one."""
MOST_COMMITS = 10
"""Commits of each side that the comment about a conflict names."""


async def synchronise(desk: Desk) -> dict[str, Any]:
    """Where work begins: {base, branch, start, parents, conflicts, told}. Raises RunEnd on a conflict.

    So it does, before an agent is paid, where another branch leaves the task's no place on the remote.

    The branch is the remote's, or what the last run could not join with the base. When joining fails again, and the
    profile leaves that to the agent, work begins from both with the conflicts marked.
    """
    mirror, task_id = desk.context.mirror, desk.task.task_id
    desk.move(RunState.syncing)
    if (other := git_mirror.branch_in_the_way(mirror, task_id)) is not None:
        raise RunEnd(RunState.failed, str(name_taken(task_id, other)), rule="branch_in_the_way")
    base = _base(desk)
    branch = git_mirror.remote_branch(mirror, task_id)
    synced = await _synced(desk, _unpublished(desk, branch) or branch, base)
    _tell(desk, synced)
    start, parents, conflicts = synced.sha, [synced.sha], list[str]()
    if synced.status == "conflict":
        if not _is_for_agent(desk, synced):
            raise conflict(desk, synced, base)
        parents, conflicts = [synced.sha, base], list(synced.files)
        start = _marked(desk, synced, parents)
    mirror.git("update-ref", f"refs/agentd/runs/{desk.run.run_id}/start", start)
    record_base(mirror, task_id, base)
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
    mirror, commit, task_id = desk.context.mirror, made["commit"], desk.task.task_id
    desk.require_wanted()

    def look() -> tuple[str, str]:
        base = git_mirror.fetch(mirror, task_id)
        bring(desk, commit)
        return base, git_mirror.remote_branch(mirror, task_id) or ""

    base, branch = await outside(desk, "look for what has moved", look)
    if branch == commit:
        return {"moved": False, "began": began, "made": made}  # pushed by an incarnation before us
    foreign = branch if branch != began["branch"] else ""
    if not foreign and git_mirror.is_ancestor(mirror, base, commit):
        return {"moved": False, "began": began, "made": made}
    desk.move(RunState.syncing)
    joined = await _synced(desk, commit, foreign) if foreign else None
    if joined is not None and joined.status == "conflict":
        synced = joined
    else:
        synced = await _synced(desk, joined.sha if joined else commit, base)
    if is_last and synced.status != "conflict" and not (foreign or synced.lockfiles):
        return {"moved": False, "began": began, "made": made}
    _tell(desk, synced)
    if is_last or synced.status == "conflict":
        mirror.git("update-ref", unpublished_ref(task_id), commit)
        if synced.status == "conflict":
            raise conflict(desk, synced, base)
        reason = f"{desk.run.branch} or {desk.context.settings.base_branch} moved each time that the work was verified"
        raise RunEnd(RunState.conflict_retry, reason, rule="base_moving", cause="conflict")
    record_base(mirror, task_id, base)
    await keep(desk, synced.sha)
    parents = git_mirror.parents_of(mirror, synced.sha)
    start = parents[0] if len(parents) == 1 else synced.sha
    place = await workspace(desk, began, commit)
    with reading(desk, place) as reader, suppress(InTheWay):  # which is then set aside, and another one made
        await asyncio.to_thread(advance, mirror, place, desk.run_dir, made["tree"], synced.sha, start, reader)
    return {
        "moved": True,
        "began": began | {"base": base, "branch": branch, "start": start, "parents": [start], "conflicts": []},
        "made": made | {"commit": synced.sha, "tree": git_mirror.tree_of(mirror, synced.sha)},
    }


async def _synced(desk: Desk, ours: str | None, base: str) -> Synced:
    """Ours brought up to the base, lockfiles included; nothing is touched, whatever comes of it. Raises RunEnd."""
    mirror, settings = desk.context.mirror, desk.context.settings
    known = no_lockfiles if settings.disable_lockfile_auto_resolve else manifests_of
    recorded = recorded_base(mirror, desk.task.task_id)
    synced = await asyncio.to_thread(sync, mirror, ours, base, recorded_base=recorded, manifests_of=known)
    if synced.status == "conflict" or not (synced.lockfiles or synced.merged_lockfiles):
        return synced
    try:
        done = await relock(desk, synced.sha, base, synced.lockfiles, synced.merged_lockfiles, task=ours)
    except ConfigurationError as error:
        raise RunEnd(RunState.failed, str(error), rule="lockfile_unusable") from None
    if isinstance(done, Refused):
        files, entries = synced.lockfiles or synced.merged_lockfiles, "; ".join(str(one) for one in done.findings[:20])
        reason = f"{done.reason}{': ' if entries else ''}{entries}"
        if done.kind in PASSING:
            _recovered(desk, LOCKFILES, files, reason, failed=True)
            raise RunEnd(RunState.conflict_retry, reason, rule="registry_unavailable", cause="infrastructure")
        return Synced("conflict", ours or base, files, reason, lockfiles=files)
    if done.resolved:
        _recovered(desk, LOCKFILES, done.resolved, "; ".join((synced.reason, *done.notes)), failed=False)
    reason = "; ".join((synced.reason, *(f"regenerated {path}" for path in done.resolved), *done.notes))
    return replace(synced, sha=done.commit, reason=reason, lockfiles=done.resolved)


def conflict(desk: Desk, synced: Synced, base: str) -> RunEnd:
    """The end of a run whose branch and base cannot be joined; nothing has been touched."""
    kind = LOCKFILES if synced.lockfiles else NOT_LOCKFILES
    _recovered(desk, kind, synced.files, synced.reason, failed=True)
    mirror, name, branch = desk.context.mirror, desk.context.settings.base_branch, desk.run.branch
    files = "\n".join(f"- `{one_line(file, 500).replace('`', chr(39))}`" for file in synced.files)
    here = git_mirror.remote_branch(mirror, desk.task.task_id) != synced.sha
    fetch = f"git fetch {mirror.path} {unpublished_ref(desk.task.task_id)} && git switch -c {branch} FETCH_HEAD"
    detail = (
        f"{fence(one_line(synced.reason, 2_000))}\n\n"
        f"Files in conflict between `{branch}` ({synced.sha[:12]}) and `{name}` ({base[:12]}):\n\n{files}\n\n"
        f"Commits of the branch:\n\n{_commits(mirror, base, synced.sha)}\n\n"
        f"Commits of `{name}`:\n\n{_commits(mirror, synced.sha, base)}\n\n"
        f"To resolve by hand{', on the host of agentd' if here else ''}:\n\n"
        f"```\n{fetch if here else f'git fetch origin && git switch {branch}'}\n"
        f"git fetch origin && git merge origin/{name}\n"
        f"# mend the files, then\ngit commit && git push origin {branch}\n```\nThen set `status:todo`."
    )
    return RunEnd(
        RunState.conflict_retry, "the branch conflicts with the base", rule="conflict", cause="conflict", detail=detail
    )


def _commits(mirror: Mirror, without: str, tip: str) -> str:
    """The newest commits of one side that the other one lacks, for people."""
    listed = mirror.git(
        "log", "--no-show-signature", f"--max-count={MOST_COMMITS}", "--format=%h %s", tip, f"^{without}"
    )
    return fence("\n".join(one_line(line, 100) for line in listed.splitlines()))


def _recovered(desk: Desk, kind: str, files: Sequence[str], message: str, *, failed: bool) -> None:
    data = {
        "recovery_type": kind,
        "conflicted_files": list(files),
        "message": one_line(message, 2_000),
        "attempt": attempts.counts(desk.context.store, desk.task.task_id).get("conflict", 0) + 1,
        "max_retries": desk.context.settings.retries.conflict,
    }
    desk.context.emit("conflict_recovery", desk.run, data, status="failed" if failed else "ok")


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
    of_lockfiles = {"lockfiles": "lockfile_resolved", "conflict": "lockfile_resolution_failed"}
    status = (of_lockfiles if synced.lockfiles else {"conflict": NOT_LOCKFILES}).get(synced.status, synced.status)
    data = {"sync_status": status, "conflicted_files": list(synced.files), "message": one_line(synced.reason, 2_000)}
    desk.context.emit("branch_sync", desk.run, data, status="failed" if synced.status == "conflict" else "ok")
