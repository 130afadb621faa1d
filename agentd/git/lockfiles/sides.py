"""What commits say about one lockfile, read from the mirror's objects."""

from __future__ import annotations

from collections.abc import Mapping

from agentd.git.lockfiles.entry import Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.provenance import Side
from agentd.git.lockfiles.scratch import blob_of, content_of, files_named
from agentd.git.mirror import Mirror


def sides_of(
    mirror: Mirror, trees: Mapping[str, str | None], path: str, folder: str, manager: Manager
) -> dict[str, Side]:
    """What each commit, or tree, says of a lockfile and of the manifests in its folder and below.

    Manifests that are the same in all are left out, unless the lockfile itself is new.
    Raises LockfileUnreadable naming the file.
    """
    manifests = {
        name: files_named(mirror, tree, folder, manager.manifests) if tree else {} for name, tree in trees.items()
    }
    blobs = {name: blob_of(mirror, tree, path) if tree else None for name, tree in trees.items()}
    if blobs["base"] is None:
        manifests["base"] = {}
    every = {manifest for found in manifests.values() for manifest in found}
    differing = {each for each in every if len({found.get(each) for found in manifests.values()}) > 1}
    return {
        name: Side(
            _read(mirror, manager, path, blobs[name]),
            {each: _requirements(mirror, manager, each, found[each]) for each in sorted(differing & found.keys())},
        )
        for name, found in manifests.items()
    }


def _read(mirror: Mirror, manager: Manager, path: str, blob: str | None) -> dict[str, Entry]:
    if blob is None:
        return {}
    try:
        return manager.read(content_of(mirror, blob))
    except LockfileUnreadable as error:
        raise LockfileUnreadable(f"{path}: {error}") from None


def _requirements(mirror: Mirror, manager: Manager, path: str, blob: str) -> dict[str, str]:
    try:
        return manager.requirements(path, content_of(mirror, blob))
    except LockfileUnreadable as error:
        raise LockfileUnreadable(f"{path}: {error}") from None
