"""A tree checked out for a program to work in, from objects: no worktree of the mirror, no repository inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from git.objects import Blob

from agentd.errors import GitError
from agentd.git.lockfiles.entry import LockfileUnreadable
from agentd.git.lockfiles.reading import MAX_BYTES
from agentd.git.mirror import Mirror, opened
from agentd.git.workspace import Workspace, remove

REGULAR = ("100644", "100755")


@asynccontextmanager
async def checked_out(
    mirror: Mirror, folder: Path, commit: str, instead: Mapping[str, str] | None = None
) -> AsyncIterator[Workspace]:
    """The commit's files in `folder`/tree, with other blobs for the paths of `instead`; removed at the end.

    What an incarnation before us left there is removed first. Raises GitError, OSError.
    """
    try:
        yield await asyncio.to_thread(_check_out, mirror, folder, commit, instead or {})
    finally:
        await asyncio.to_thread(remove, folder)


def _check_out(mirror: Mirror, folder: Path, commit: str, instead: Mapping[str, str]) -> Workspace:
    remove(folder)
    place = Workspace(folder / "tree", folder / "index", commit)
    place.path.mkdir(parents=True, mode=0o700)
    environment = {"GIT_INDEX_FILE": str(place.index), "GIT_WORK_TREE": str(place.path)}
    mirror.git("read-tree", commit, environment=environment)
    for path, blob in instead.items():
        mirror.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=environment)
    mirror.git("checkout-index", "--all", "--index", "--quiet", cwd=place.path, environment=environment)
    return place


def blob_of(mirror: Mirror, tree: str, path: str) -> str | None:
    """The name of a file's content in a commit or tree; None where there is no plain file at the path."""
    for mode, kind, name, _ in _entries(mirror, tree, path):
        if kind == "blob" and mode in REGULAR:
            return name
    return None


def content_of(mirror: Mirror, blob: str) -> bytes:
    """A blob's content. Raises LockfileUnreadable when there is more of it than is read."""
    with opened(mirror) as repo:
        found = Blob(repo, bytes.fromhex(blob))
        if found.size > MAX_BYTES:
            raise LockfileUnreadable(f"it has {found.size} bytes; at most {MAX_BYTES} are read")
        return bytes(found.data_stream.read())


def files_named(mirror: Mirror, tree: str, folder: str, names: tuple[str, ...]) -> dict[str, str]:
    """path -> blob of every plain file with one of these names in a folder of a commit and below."""
    found = _entries(mirror, tree, f"{folder}/" if folder else "", recursive=True)
    return {path: name for mode, _, name, path in found if mode in REGULAR and path.rpartition("/")[2] in names}


def _entries(mirror: Mirror, tree: str, path: str, recursive: bool = False) -> Iterator[tuple[str, str, str, str]]:
    """(mode, type, object, path) of what is at a path. Raises GitError when the tree is not in the mirror."""
    options = ["-r"] if recursive else []
    output = mirror.git("ls-tree", "-z", "--full-tree", *options, tree, "--", *([path] if path else []))
    for line in output.split("\0"):
        if line:
            about, _, name = line.partition("\t")
            fields = about.split(" ")
            if len(fields) != 3:
                raise GitError(f"git ls-tree: {about!r} is not what was expected")
            yield fields[0], fields[1], fields[2], name
