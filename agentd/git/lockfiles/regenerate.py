"""Making lockfiles fit the merged manifests, by the tools that own them.

A tool starts from upstream's lockfile, so that everything pinned there stays; it runs where the runner that is passed
in says, and nothing that it leaves counts but the lockfiles themselves, read back through the supervisor's own index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentd.errors import GitError
from agentd.git.collect import snapshot
from agentd.git.lockfiles import manager_of
from agentd.git.lockfiles.entry import LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.provenance import Finding, judge, judge_parents
from agentd.git.lockfiles.scratch import blob_of, checked_out, content_of
from agentd.git.lockfiles.sides import sides_of
from agentd.git.lockfiles.tool import Refused, Runner, run
from agentd.git.mirror import Mirror
from agentd.git.workspace import Workspace

MESSAGE = b"chore: regenerate lockfiles after sync\n"
MOST_NAMED = 20
"""Paths or findings that a refusal names."""


@dataclass(frozen=True)
class Regenerated:
    """The commit with the lockfiles that fit."""

    commit: str
    resolved: tuple[str, ...]
    tree: str


@dataclass(frozen=True)
class Parents:
    """The commits that were brought together."""

    synced: str
    """with the merged manifests; what the new commit stands on"""
    upstream: str
    task: str | None
    """the task's branch before the sync; None when it is not known: then only upstream is a parent"""
    base: str | None
    """the merge base of the two; None when they have none"""


async def regenerate(
    mirror: Mirror,
    parents: Parents,
    lockfiles: Sequence[str],
    folder: Path,
    runner_in: Callable[[Workspace], Runner],
    hosts: tuple[str, ...] = (),
) -> Regenerated | Refused:
    """A commit on the synced one in which these lockfiles fit the manifests and their content is proven.

    `folder` is a scratch folder of this run, removed at the end; `runner_in` makes the runner for a tree; `hosts` are
    registries besides the managers' own. The same input makes the same commit, as far as the registries answer alike.
    """
    paths = tuple(sorted(dict.fromkeys(lockfiles)))
    try:
        starts = {path: await asyncio.to_thread(_start, mirror, parents, path) for path in paths}
        for path, (manager, _) in starts.items():
            refused = await asyncio.to_thread(_unproven_parents, mirror, parents, path, manager, hosts)
            if refused:
                return refused
        async with checked_out(
            mirror, folder, parents.synced, {path: blob for path, (_, blob) in starts.items()}
        ) as place:
            runner = runner_in(place)
            for path, (manager, _) in starts.items():
                refused = await run(manager, path, runner, hosts)
                if refused:
                    return refused
            tree = await asyncio.to_thread(_tree_of, mirror, place, paths)
        if isinstance(tree, Refused):
            return tree
        for path, (manager, blob) in starts.items():
            refused = await asyncio.to_thread(_proven, mirror, parents, tree, path, manager, blob, hosts)
            if refused:
                return refused
    except LockfileUnreadable as error:
        return Refused(str(error), "unreadable")
    return Regenerated(await asyncio.to_thread(_commit, mirror, tree, parents.synced), paths, tree)


def _start(mirror: Mirror, parents: Parents, path: str) -> tuple[Manager, str]:
    """The manager of a lockfile, and the blob to begin with: upstream's, or the synced one where upstream has none."""
    blob = blob_of(mirror, parents.upstream, path) or blob_of(mirror, parents.synced, path)
    if blob is None:
        raise LockfileUnreadable(f"{path}: is no plain file in the synced commit; there is nothing to regenerate")
    manager = manager_of(path, content_of(mirror, blob))
    if manager is None:
        raise LockfileUnreadable(f"{path}: is not the lockfile of any package manager that agentd knows")
    return manager, blob


def _tree_of(mirror: Mirror, place: Workspace, paths: tuple[str, ...]) -> str | Refused:
    """The tree with the new lockfiles, if nothing else in it is new."""
    try:
        found = snapshot(mirror, place)
    except GitError as error:
        return Refused(f"what the package managers left cannot be read: {error}", "touched")
    others = [path for path in (*found.changed, *found.nested, *found.refused) if path not in paths]
    if others:
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        names = ", ".join(others[:MOST_NAMED])
        return Refused(f"besides the lockfiles these were changed: {names}{more}", "touched")
    odd = [path for path in paths if blob_of(mirror, found.tree, path) is None]
    return Refused(f"no plain file any more: {', '.join(odd)}", "touched") if odd else found.tree


def _proven(
    mirror: Mirror, parents: Parents, tree: str, path: str, manager: Manager, start: str, hosts: tuple[str, ...]
) -> Refused | None:
    new = blob_of(mirror, tree, path)
    assert new is not None, "checked before"
    folder, trees = _folder(path), _trees(parents) | {"new": tree}
    sides = sides_of(mirror, trees, path, folder, manager)
    if manager.format is not None:
        before, after = (manager.format.search(content_of(mirror, blob)) for blob in (start, new))
        if before and after and before[0] != after[0]:
            formats = " where there was ".join(each[0].decode(errors="replace").strip() for each in (after, before))
            return Refused(f"{path}: {manager.program} on this host is of another age: it writes {formats}", "tool")
    findings = judge(manager, *(sides[name] for name in trees), folder=folder, hosts=hosts)
    return _refused(path, findings)


def _unproven_parents(
    mirror: Mirror, parents: Parents, path: str, manager: Manager, hosts: tuple[str, ...]
) -> Refused | None:
    folder, trees = _folder(path), _trees(parents)
    try:
        sides = sides_of(mirror, trees, path, folder, manager)
    except LockfileUnreadable:
        return None  # the tool may read it, and what it makes of it is judged with both parents
    return _refused(path, judge_parents(manager, *(sides[name] for name in trees), folder=folder, hosts=hosts))


def _folder(path: str) -> str:
    return "" if "/" not in path else path.rpartition("/")[0]


def _trees(parents: Parents) -> dict[str, str | None]:
    return {"base": parents.base, "task": parents.task or parents.base, "upstream": parents.upstream}


def _refused(path: str, findings: tuple[Finding, ...]) -> Refused | None:
    if not findings:
        return None
    named = "\n".join(f"- {finding}" for finding in findings[:MOST_NAMED])
    return Refused(f"{path}: {len(findings)} entries cannot be explained:\n{named}", "provenance", findings)


def _commit(mirror: Mirror, tree: str, synced: str) -> str:
    """The commit on the synced one, dated as that is; the synced one itself when nothing had to change."""
    if mirror.git("rev-parse", "--verify", "--quiet", f"{synced}^{{tree}}") == tree:
        return synced
    date = mirror.git("show", "--no-patch", "--format=%ct +0000", synced)
    environment = {**mirror.author.environment(), "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return mirror.git("commit-tree", tree, "-p", synced, stdin=MESSAGE, environment=environment)
