"""Questions about commits, answered from the bare repository and remembered by sha."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agentd.practice.bare import BareRepository, GitFailed, Signature

PERSON = re.compile(r"(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<time>-?[0-9]+) [+-][0-9]{4}")
STATUS = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "C": "copied", "T": "changed"}


@dataclass
class Commit:
    sha: str
    tree: str
    message: str
    author: Signature
    committer: Signature
    parents: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileChange:
    path: str
    status: str
    blob: str
    additions: int
    deletions: int
    previous: str | None
    patch: str | None


def read_commit(git: BareRepository, sha: str) -> Commit | None:
    """A parsed commit; None when the sha is not one."""
    found = git.read(sha)
    if found is None or found[1] != "commit":
        return None
    head, _, message = found[2].decode(errors="replace").partition("\n\n")
    fields = [line.split(" ", 1) for line in head.split("\n") if not line.startswith(" ")]
    single = {name: value for name, value in fields if name != "parent"}
    parents = [value for name, value in fields if name == "parent"]
    people = [signature(single[name]) for name in ("author", "committer")]
    return Commit(found[0], single["tree"], message, people[0], people[1], parents)


def signature(line: str) -> Signature:
    match = PERSON.fullmatch(line)
    if match is None:
        return Signature(line, "", datetime.fromtimestamp(0, UTC))
    return Signature(match["name"], match["email"], datetime.fromtimestamp(int(match["time"]), UTC))


def message_of(git: BareRepository, sha: str) -> str:
    commit = read_commit(git, sha)
    return commit.message if commit else ""


async def shas_between(git: BareRepository, base: str, head: str) -> list[str]:
    """Commits of head that base lacks, oldest first."""

    async def work() -> list[str]:
        return (await git.git("rev-list", "--reverse", "--topo-order", f"{base}..{head}")).decode().split()

    return await git.once(("between", base, head), work)


async def merge_base(git: BareRepository, one: str, other: str) -> str | None:
    """The best common ancestor; None for unrelated histories."""

    async def work() -> str | None:
        try:
            return (await git.git("merge-base", one, other)).decode().strip()
        except GitFailed as error:
            if error.code == 1:
                return None
            raise

    return await git.once(("merge-base", one, other), work)


async def changes(git: BareRepository, old: str, new: str) -> list[FileChange]:
    """What differs from one tree-ish to another, with patches, renames found."""

    async def work() -> list[FileChange]:
        both = ("-r", "-M", "--no-ext-diff", old, new)
        raw = (await git.git("diff-tree", "--raw", "--numstat", "-z", "--no-abbrev", *both)).decode(errors="replace")
        patches = (await git.git("diff-tree", "-p", *both)).decode(errors="replace")
        return parse_changes(raw, patches)

    return await git.once(("changes", old, new), work)


def parse_changes(raw: str, patches: str) -> list[FileChange]:
    """Reads `--raw --numstat -z` (all raw entries, then all counts) beside the patches, in the same order."""
    words = raw.split("\0")
    entries: list[tuple[str, str, str, str | None]] = []
    at = 0
    while at < len(words) and words[at].startswith(":"):
        blob, status = words[at].split(" ")[3:5]
        two = status[0] in "RC"
        entries.append((words[at + (2 if two else 1)], status[0], blob, words[at + 1] if two else None))
        at += 3 if two else 2
    bodies = re.split(r"^diff --git .*\n", patches, flags=re.MULTILINE)[1:]
    found = []
    for (path, status, blob, previous), body in zip(entries, bodies, strict=True):
        added, deleted, name = words[at].split("\t")
        at += 1 if name else 3
        hunks = body.find("\n@@ ")
        patch = body[hunks + 1 :].rstrip("\n") if hunks >= 0 else None
        counts = [int(count) if count.isdigit() else 0 for count in (added, deleted)]
        found.append(FileChange(path, STATUS[status], blob, counts[0], counts[1], previous, patch))
    return found


async def merged_tree(git: BareRepository, base: str, head: str) -> str | None:
    """The tree of a real three-way merge; None on a conflict."""

    async def work() -> str | None:
        try:
            out = await git.git("merge-tree", "--write-tree", "--no-messages", base, head)
        except GitFailed as error:
            if error.code == 1:
                return None
            raise
        return out.decode().split("\n", 1)[0]

    return await git.once(("merged", base, head), work)
