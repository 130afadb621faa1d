"""Bringing a task's branch up to the base, worked out in memory; no tree is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentd.errors import GitError
from agentd.git.mirror import Mirror, is_ancestor


@dataclass(frozen=True)
class Synced:
    """Where work goes on from, or why it cannot."""

    status: Literal["clean", "conflict"]
    sha: str
    """commit that holds both the base and the branch; the branch itself on a conflict"""
    files: tuple[str, ...] = ()
    """paths in conflict"""
    reason: str = ""
    lockfiles: tuple[str, ...] = ()
    merged_lockfiles: tuple[str, ...] = ()
    marked: str = ""


def sync(mirror: Mirror, branch_sha: str | None, base_sha: str) -> Synced:
    """The branch with the base merged into it. Without a branch, or when it is behind, the base itself."""
    if branch_sha is None or is_ancestor(mirror, branch_sha, base_sha):
        return Synced("clean", base_sha)
    if is_ancestor(mirror, base_sha, branch_sha):
        return Synced("clean", branch_sha)
    tree, files = merge_tree(mirror, branch_sha, base_sha)
    if files:
        return Synced("conflict", branch_sha, files)
    sha = mirror.git(
        "commit-tree",
        tree,
        "-p",
        branch_sha,
        "-p",
        base_sha,
        stdin=f"Merge {mirror.base_branch} into the task's branch\n".encode(),
        environment=mirror.author.environment(),
    )
    return Synced("clean", sha)


def merge_tree(mirror: Mirror, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """(tree, conflicted paths) of a three-way merge in memory; no paths means that it is clean."""
    # It names paths only when there are conflicts, and then ends with 1.
    options = ("--write-tree", "--name-only", "-z", "--no-messages")
    output = mirror.git("merge-tree", *options, ours, theirs, accept=(0, 1))
    fields = [field for field in output.split("\0") if field]
    if not fields:  # it ends with 1 for an unknown commit too
        raise GitError(f"git merge-tree: {ours} or {theirs} is not in the mirror")
    tree, *files = fields
    return tree, tuple(dict.fromkeys(files))
