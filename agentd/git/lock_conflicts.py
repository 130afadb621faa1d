"""Which conflicts are in lockfiles only, so that upstream's version may stand until the tool has made them anew.

Taking upstream's erases what the task did to the file. That is right only where the task's change follows from a
manifest, from which the tool makes it again: never for a pin without a manifest, and never for a deletion.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from agentd.git.merging import Merged, printable
from agentd.git.mirror import Mirror
from agentd.git.trees import FILE_MODES, Entry, changed_paths, entries, touched_paths

ManifestsOf = Callable[[str], tuple[str, ...]]
"""The possible manifests beside a lockfile, as paths; none when the path is no known lockfile."""

Taken = dict[str, Entry | None]
"""Lockfiles of which upstream's version stands: that version, or None where upstream removed it."""

_TAKEABLE = ("CONFLICT (contents)", "CONFLICT (add/add)", "CONFLICT (binary)", "CONFLICT (modify/delete)")


@dataclass(frozen=True)
class Refusal:
    """A conflict that is nobody's to resolve without asking."""

    reason: str = ""
    """what is to be said beside git's own messages"""


def no_lockfiles(path: str) -> tuple[str, ...]:
    """For a sync that resolves no lockfiles."""
    return ()


def takeable(
    mirror: Mirror, merged: Merged, upstream: int, base_tree: str, manifests_of: ManifestsOf
) -> Taken | Refusal:
    """Upstream's versions of the conflicted paths, when all of them are lockfiles that may be taken from there.

    `upstream` is the stage of the merge, 2 or 3, that holds upstream's side.
    """
    if not merged.stages or not all(manifests_of(path) for path in merged.stages):
        return Refusal()
    task = 5 - upstream
    for note in merged.notes:
        if note.kind not in _TAKEABLE:
            return Refusal()
    for path, stages in merged.stages.items():
        if any(entry.mode not in FILE_MODES for entry in stages.values()):
            return Refusal(f"the lockfile {printable(path)} is no plain file on both sides")
        if task not in stages:
            return Refusal(f"the task deletes the lockfile {printable(path)}, which upstream changed")
    # A pick's own side holds earlier commits of the task too; at a path that the task renamed the base has nothing.
    standing = entries(mirror, base_tree, merged.stages.keys())
    return {path: standing.get(path, stages.get(upstream)) for path, stages in merged.stages.items()}


def erased(
    mirror: Mirror, taken: Mapping[str, Entry | None], base: str, result: str, commits: Collection[str], of: ManifestsOf
) -> Refusal | None:
    """A refusal when a lockfile would lose what no manifest of the task brings back (a task that only pins a version).

    A manifest counts as the task's when one of its commits touched it, or, as one side may have renamed its folder,
    when it differs between the base and the result. `base` and `result` are trees.
    """
    if not taken:
        return None
    changed = touched_paths(mirror, commits) | changed_paths(mirror, base, result)
    for path in taken:
        manifests = of(path)
        if changed.isdisjoint(manifests) and not _members(mirror, result, path, manifests, changed):
            return Refusal(f"the task changes the lockfile {printable(path)} and no manifest of it")
    return None


def _members(mirror: Mirror, tree: str, lockfile: str, manifests: tuple[str, ...], changed: set[str]) -> bool:
    """True when a manifest further down, of a workspace's member without a lockfile of its own, was changed."""
    folder, name = posixpath.split(lockfile)
    names = {posixpath.basename(manifest) for manifest in manifests}
    for path in changed:
        inner, manifest = posixpath.split(path)
        if manifest not in names or not inner.startswith(f"{folder}/" if folder else ""):
            continue
        nearer = []
        while inner != folder:
            nearer.append(f"{inner}/{name}")
            inner = posixpath.dirname(inner)
        if not entries(mirror, tree, nearer):
            return True
    return False


def merged_as_text(mirror: Mirror, result: str, base: str, branch: str, of: ManifestsOf) -> set[str]:
    """Lockfiles in the result that are neither the base's nor the branch's: no tool has seen them like that."""
    candidates = {path for path in changed_paths(mirror, base, result) if of(path)}
    if not candidates:
        return set()
    candidates &= changed_paths(mirror, branch, result)
    return set(entries(mirror, result, candidates))
