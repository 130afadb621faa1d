"""Trees edited as objects: one path replaced or taken out, without an index over all files of the repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from agentd.git.mirror import Mirror

FILE_MODES = ("100644", "100755")
_TREE = "040000"
_KINDS = {_TREE: "tree", "160000": "commit"}


class Entry(NamedTuple):
    """What stands at a path."""

    mode: str
    sha: str


def entries(mirror: Mirror, tree: str, paths: Collection[str]) -> dict[str, Entry]:
    """What a tree has at those of the paths that it has. Paths are literal, with undecodable bytes as surrogates."""
    if not paths:
        return {}
    listed = _listed(mirror.git("ls-tree", "-z", "--full-tree", tree, "--", *sorted(paths)))
    return {path: entry for path, entry in listed.items() if path in paths}


def changed_paths(mirror: Mirror, old: str, new: str) -> set[str]:
    """Paths of the files that differ between two trees or commits; a renamed file is two of them."""
    return _names(mirror.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new))


def touched_paths(mirror: Mirror, commits: Collection[str]) -> set[str]:
    """Paths that any of the commits changed against its parent. Merges count for nothing."""
    asked = "".join(f"{sha}\n" for sha in commits).encode()
    options = ("--stdin", "-r", "-z", "--name-only", "--no-renames", "--no-commit-id")
    return _names(mirror.git("diff-tree", *options, stdin=asked))


def with_entries(mirror: Mirror, tree: str, changes: Mapping[str, Entry | None]) -> str:
    """The tree with these paths replaced, or taken out where there is None; other folders are not looked at."""
    if not changes:
        return tree
    standing = _listed(mirror.git("ls-tree", "-z", "--full-tree", tree))
    below: dict[str, dict[str, Entry | None]] = {}
    for path, entry in changes.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = entry
        elif entry is None:
            standing.pop(name, None)
        else:
            standing[name] = entry
    for name, deeper in below.items():
        folder = standing.pop(name, None)
        empty = mirror.git("mktree", stdin=b"")
        made = with_entries(mirror, folder.sha if folder and folder.mode == _TREE else empty, deeper)
        if made != empty:
            standing[name] = Entry(_TREE, made)
    lines = "".join(f"{mode} {_KINDS.get(mode, 'blob')} {sha}\t{name}\0" for name, (mode, sha) in standing.items())
    return mirror.git("mktree", "-z", stdin=lines.encode(errors="surrogateescape"))


def _listed(text: str) -> dict[str, Entry]:
    found = {}
    for line in text.split("\0")[:-1]:
        header, _, path = line.partition("\t")
        mode, _, sha = header.split(" ")
        found[path] = Entry(mode, sha)
    return found


def _names(text: str) -> set[str]:
    return {name for name in text.split("\0") if name}
