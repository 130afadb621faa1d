"""Deleting many branches at once, and only those that are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.git.branches import delete_branches, remote_branches
from agentd.git.mirror import Mirror, fetch
from agentd.git.runner import git
from tests.git.test_git import source, there  # noqa: F401  # fixtures


def make(there: Mirror, names: list[str]) -> str:  # noqa: F811
    sha = fetch(there)
    orders = "".join(f"create refs/heads/{name} {sha}\n" for name in names)
    git("update-ref", "--stdin", git_dir=Path(there.url.removeprefix("file://")), stdin=orders.encode())
    return sha


def test_only_branches_of_tasks_are_listed(there: Mirror) -> None:  # noqa: F811
    sha = make(there, ["agent/P0-01", "agent/issue-7", "agent/x", "agent/P0-01/deep", "agent/P9-01", "feature"][:3])
    assert remote_branches(there) == {"agent/P0-01": sha, "agent/issue-7": sha}


def test_what_has_moved_is_left_and_all_others_go(there: Mirror) -> None:  # noqa: F811
    names = [f"agent/issue-{number}" for number in range(1, 251)]
    sha = make(there, [*names, "agent/mine"])
    remote = Path(there.url.removeprefix("file://"))
    tree = git("rev-parse", f"{sha}^{{tree}}", git_dir=remote)
    author = there.author.environment()
    moved = git("commit-tree", tree, "-p", sha, git_dir=remote, stdin=b"more", environment=author)
    for name in ("agent/issue-17", "agent/issue-180"):
        git("update-ref", f"refs/heads/{name}", moved, git_dir=remote)
    left = delete_branches(there, dict.fromkeys(names, sha))
    assert set(left) == {"agent/issue-17", "agent/issue-180"}
    assert all("stale info" in reason for reason in left.values())
    assert remote_branches(there) == {"agent/issue-17": moved, "agent/issue-180": moved}
    assert git("rev-parse", "refs/heads/agent/mine", git_dir=remote) == sha


@pytest.mark.parametrize("name", ["main", "agent/x", "agent/issue-0", "agent/P0-01 ", "refs/heads/agent/P0-01"])
def test_other_branches_are_never_deleted(there: Mirror, name: str) -> None:  # noqa: F811
    with pytest.raises(ValueError, match="no branch of agentd's"):
        delete_branches(there, {name: "0" * 40})


def test_one_that_is_gone_already_is_no_trouble(there: Mirror) -> None:  # noqa: F811
    sha = make(there, ["agent/issue-1"])
    left = delete_branches(there, {"agent/issue-1": sha, "agent/issue-2": sha})
    assert remote_branches(there) == {}
    assert set(left) <= {"agent/issue-2"}
