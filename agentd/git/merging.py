"""One three-way merge in memory, and what git says about its conflicts. No driver, filter or attribute takes part."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from agentd.errors import GitError
from agentd.git.mirror import EMPTY_TREE, Mirror
from agentd.git.trees import Entry

REASON_CHARACTERS = 600
"""The most of git's messages that people are shown at once."""

# Attributes can name a merge driver, whose command would have to stand in the mirror's configuration, or git's own
# `union` and `binary`. git 2.39 reads none in a bare repository; later ones read HEAD's unless told of another tree.
_NO_ATTRIBUTES = (f"attr.tree={EMPTY_TREE}",)
_ENVIRONMENT = {"GIT_ATTR_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Note:
    """A conflict as git words it."""

    kind: str
    """"CONFLICT (modify/delete)" and the like, the same in every git"""
    paths: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Merged:
    """The outcome of one merge."""

    tree: str
    """with conflict markers in it when it is not clean"""
    stages: dict[str, dict[int, Entry]] = field(default_factory=dict)
    """paths in conflict, with what stands there in the fork (1), ours (2) and theirs (3)"""
    notes: tuple[Note, ...] = ()
    """conflicts only. There are conflicts without a path of their own, such as a folder that was split in two"""

    @property
    def clean(self) -> bool:
        return not self.stages and not self.notes

    @property
    def files(self) -> tuple[str, ...]:
        """Paths in conflict."""
        return tuple(self.stages or dict.fromkeys(path for note in self.notes for path in note.paths))


def merge(mirror: Mirror, ours: str, theirs: str) -> Merged:
    """Merge two commits by their own merge bases. Raises GitError when one is missing or they are unrelated."""
    words = ("merge-tree", "--write-tree", "-z", "--messages", ours, theirs)
    # It ends with 1 for conflicts, and for an unknown commit too.
    output = mirror.git(*words, options=_NO_ATTRIBUTES, accept=(0, 1), environment=_ENVIRONMENT)
    if not output:
        raise GitError(f"git merge-tree: {ours} or {theirs} is not in the mirror")
    fields = iter(output.split("\0"))
    tree = next(fields)
    stages: dict[str, dict[int, Entry]] = {}
    for line in fields:
        if not line:
            break
        header, _, path = line.partition("\t")
        mode, sha, stage = header.split(" ")
        stages.setdefault(path, {})[int(stage)] = Entry(mode, sha)
    notes = []
    for count in fields:
        if not count.isdigit():  # git's advice on submodules follows, in words
            break
        paths = tuple(next(fields) for _ in range(int(count)))
        kind, text = next(fields), next(fields)
        if kind.startswith("CONFLICT"):
            notes.append(Note(kind, paths, text.strip()))
    return Merged(tree, stages, tuple(notes))


def merge_tree(mirror: Mirror, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """(tree, conflicted paths) of a three-way merge in memory; no paths means that it is clean."""
    merged = merge(mirror, ours, theirs)
    return merged.tree, merged.files


def explained(merged: Merged, names: dict[str, str]) -> str:
    """git's messages for people: one line, of bounded length, nothing that a terminal or a page would obey.

    `names` says what to call the commits.
    """
    told = []
    for note in merged.notes:
        text = note.text
        for sha, name in names.items():
            text = text.replace(sha, name)
        told.append(printable(text.removeprefix("CONFLICT ")))
    text = "; ".join(told)
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"


def printable(text: str) -> str:
    """Without control and format characters, such as those that turn the writing round, and undecodable bytes."""
    return "".join("?" if unicodedata.category(character).startswith("C") else character for character in text)
