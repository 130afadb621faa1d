"""What differs between two commits, read from objects: no tree, no attributes and no configuration has a say."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agentd.errors import GitError
from agentd.git.mirror import Mirror
from agentd.policy.diff import SYMLINK, Change

BINARY_BYTES = 8_000
"""How far git looks for a NUL byte (xdiff-interface.c, buffer_is_binary)."""

MARKS = (re.compile(rb"^<{7} ", re.MULTILINE), re.compile(rb"^>{7} ", re.MULTILINE))
"""What git writes around the two sides of a conflict (merge-tree names the commits behind the arrows)."""


def changes(mirror: Mirror, before: str, after: str) -> tuple[Change, ...]:
    """Every path that differs between two commits or trees; a renamed file is two paths."""
    raw = mirror.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", before, after)
    fields = raw.split("\0")
    found = []
    for header, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode, old_sha, new_sha, _ = header.removeprefix(":").split(" ")
        found.append(Change(path, old_mode, new_mode, old_sha, new_sha))
    return tuple(found)


def sizes(mirror: Mirror, shas: Iterable[str]) -> dict[str, int]:
    """Bytes of each object. Raises GitError when one is missing."""
    wanted = list(dict.fromkeys(shas))
    listed = mirror.git(
        "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin="".join(f"{sha}\n" for sha in wanted).encode()
    )
    found = {}
    for line in listed.splitlines():
        sha, _, size = line.partition(" ")
        if not size.isdigit():
            raise GitError(f"{sha}: {size}, so what it holds cannot be judged")
        found[sha] = int(size)
    return found


def blobs(mirror: Mirror, shas: Iterable[str]) -> dict[str, bytes]:
    """The content of each blob, all of it in memory: ask for `sizes` first."""
    wanted = list(dict.fromkeys(shas))
    answer = mirror.git("cat-file", "--batch", stdin="".join(f"{sha}\n" for sha in wanted).encode())
    data = answer.encode(errors="surrogateescape")
    found, at = {}, 0
    for sha in wanted:
        end = data.index(b"\n", at)
        size = int(data[at:end].rsplit(b" ", 1)[1])
        found[sha] = data[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found


def is_binary(content: bytes) -> bool:
    return b"\0" in content[:BINARY_BYTES]


def with_markers(mirror: Mirror, commit: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the files in which the marks of a conflict stand."""
    wanted = [f":(literal){path}" for path in paths]
    if not wanted:
        return ()
    listed = mirror.git("ls-tree", "-z", "--full-tree", commit, "--", *wanted)
    found = {}
    for entry in filter(None, listed.split("\0")):
        header, _, path = entry.partition("\t")
        mode, kind, sha = header.split(" ")
        if kind == "blob" and mode != SYMLINK:
            found[path] = sha
    texts = blobs(mirror, found.values())
    return tuple(path for path, sha in found.items() if all(mark.search(texts[sha]) for mark in MARKS))
