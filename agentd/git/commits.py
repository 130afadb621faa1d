"""Commits as bytes: read many at once, write one exactly as it should be. No hook, signature or recoding comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentd.errors import GitError
from agentd.git.mirror import Mirror

_NOBODY = b"agentd <agentd> 0 +0000"


@dataclass(frozen=True)
class Commit:
    """What of a commit matters when it is made again; bytes, because names and messages are in any encoding."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: bytes
    """name, email and date, as they stand in the commit"""
    committer: bytes
    encoding: bytes
    """of the message; empty for UTF-8"""
    message: bytes

    @property
    def committer_email(self) -> str:
        return self.committer.rpartition(b"> ")[0].rpartition(b"<")[2].decode(errors="surrogateescape")

    @property
    def time(self) -> int:
        """When it was committed, in seconds since 1970; 0 when the date cannot be read."""
        date = self.committer.rpartition(b"> ")[2].split(b" ")[0]
        return int(date) if date.isdigit() else 0


def read_commits(mirror: Mirror, shas: Sequence[str]) -> list[Commit]:
    """The commits in the order asked for, read by one process. Raises GitError for one that is not in the mirror."""
    asked = "".join(f"{sha}\n" for sha in shas).encode()
    # The mirror's git() takes off one line end, which belongs to the last object.
    data = mirror.git("cat-file", "--batch", stdin=asked).encode(errors="surrogateescape") + b"\n"
    found: list[Commit] = []
    start = 0
    for sha in shas:
        header, _, _ = data[start : start + 200].partition(b"\n")
        words = header.split(b" ")
        if len(words) != 3 or words[1] != b"commit":
            raise GitError(f"{sha}: not a commit of the mirror: {header.decode(errors='replace')}")
        start += len(header) + 1
        size = int(words[2])
        found.append(_parsed(sha, data[start : start + size]))
        start += size + 1
    return found


def _parsed(sha: str, raw: bytes) -> Commit:
    head, _, message = raw.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        if not line.startswith(b" "):  # which goes on with a signature or a merged tag
            name, _, value = line.partition(b" ")
            fields.setdefault(name, []).append(value)

    def one(name: bytes) -> bytes:
        return fields.get(name, [b""])[0]

    parents = tuple(parent.decode() for parent in fields.get(b"parent", []))
    return Commit(sha, one(b"tree").decode(), parents, one(b"author"), one(b"committer"), one(b"encoding"), message)


def recommit(mirror: Mirror, commit: Commit, tree: str, parent: str) -> str:
    """The commit again with another tree and parent, by the same people at the same times.

    It keeps the committer's date, so that a sync that is repeated after a crash makes the same commit. Its signature
    is left out, as it would be wrong. `commit-tree` would recode a message that is not UTF-8.
    """
    return _write(mirror, tree, parent, commit.author, commit.committer, commit.encoding, commit.message)


def throw_away(mirror: Mirror, tree: str, parent: str) -> str:
    """A commit that only tells a merge which tree came from where; no ref ever holds it."""
    return _write(mirror, tree, parent, _NOBODY, _NOBODY)


def _write(
    mirror: Mirror, tree: str, parent: str, author: bytes, committer: bytes, encoding: bytes = b"", message: bytes = b""
) -> str:
    lines = [
        b"tree " + tree.encode(),
        b"parent " + parent.encode(),
        b"author " + author,
        b"committer " + committer,
        *([b"encoding " + encoding] if encoding else []),
        b"",
        message,
    ]
    return mirror.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=b"\n".join(lines))


def merge_commit(mirror: Mirror, tree: str, ours: Commit, theirs: Commit, message: str) -> str:
    """A merge by agentd, dated like the later of its parents, so that the same input makes the same commit."""
    date = f"@{max(ours.time, theirs.time)} +0000"
    return mirror.git(
        "commit-tree",
        tree,
        *("-p", ours.sha, "-p", theirs.sha),
        stdin=f"{message}\n".encode(),
        environment={**mirror.author.environment(), "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
    )


def merge_bases(mirror: Mirror, one: str, other: str) -> tuple[str, ...]:
    """The best common ancestors; none without a common history. Raises GitError for a commit that is not there."""
    return tuple(mirror.git("merge-base", "--all", one, other, accept=(0, 1)).split())


def list_range(mirror: Mirror, branch: str, *without: str) -> list[str]:
    """The commits that the branch has and the others have not, oldest first."""
    options = ("--reverse", "--topo-order")
    return mirror.git("rev-list", *options, branch, *(f"^{sha}" for sha in without)).splitlines()
