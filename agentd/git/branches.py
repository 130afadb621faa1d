"""The branches that agentd has made on the remote: all of them at once, and deleting many."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from agentd.errors import GitError
from agentd.git.mirror import Mirror
from agentd.git.naming import task_of
from agentd.git.runner import git

BATCH = 100
REFUSALS = ("stale info", "atomic push failed", "remote rejected", "protected branch")
"""What git says when it is about one of the branches, and not about the way there."""


def remote_branches(mirror: Mirror) -> dict[str, str]:
    """Branch -> commit, of every branch on the remote with a name that agentd gives."""
    listed = mirror.git("ls-remote", "--quiet", mirror.url, "refs/heads/agent/*", token=mirror.token)
    found = {}
    for line in listed.splitlines():
        sha, _, ref = line.partition("\t")
        branch = ref.removeprefix("refs/heads/")
        if task_of(branch):
            found[branch] = sha
    return found


def delete_branches(mirror: Mirror, chosen: Mapping[str, str]) -> dict[str, str]:
    """Delete each branch if it still is at its commit; branch -> why not, for those that were left.

    Raises ValueError for a branch that agentd did not make. Out of an empty repository, because git's client compares
    what it deletes with every ref that it knows, which takes minutes for thousands.
    """
    for branch in chosen:
        if task_of(branch) is None:
            raise ValueError(f"{branch} is no branch of agentd's")
    waiting = [list(chosen)[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    left: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="agentd-empty-") as folder:
        empty = Path(folder) / "empty.git"
        git("init", "--quiet", "--bare", str(empty), cwd=Path(folder))
        while waiting:
            batch = waiting.pop()
            try:
                _delete(mirror, empty, {branch: chosen[branch] for branch in batch})
            except GitError as error:
                if not any(word in error.stderr for word in REFUSALS):
                    raise
                if len(batch) == 1:
                    left[batch[0]] = error.stderr.strip()[-300:] or str(error)
                else:  # all or none: look for the one that is refused
                    middle = len(batch) // 2
                    waiting += [batch[:middle], batch[middle:]]
    return left


def _delete(mirror: Mirror, empty: Path, batch: Mapping[str, str]) -> None:
    git(
        "push",
        "--quiet",
        "--porcelain",
        "--no-verify",
        "--atomic",
        *(f"--force-with-lease=refs/heads/{branch}:{sha}" for branch, sha in batch.items()),
        mirror.url,
        *(f":refs/heads/{branch}" for branch in batch),
        git_dir=empty,
        token=mirror.token,
    )
