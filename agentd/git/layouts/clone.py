"""The `clone` layout: a shared clone of the mirror, which the agent may do anything with.

After the agent has been in it no git runs in it as its repository: see agentd.git.collect.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts.protocol import (
    UNLOCK,
    Inside,
    Plan,
    Shown,
    View,
    Workspace,
    alternates_folder,
    alternates_of,
)
from agentd.git.mirror import Mirror
from agentd.git.runner import TIMEOUT_SECONDS, git


def make(plan: Plan) -> Workspace:
    """Clone and check out; the index is copied for the supervisor."""
    bare_clone(plan.mirror, plan.folder)
    with plan.mirror.checking_out():
        git("checkout", "--quiet", "-B", plan.branch, "--no-track", plan.commit, cwd=plan.folder)
    index = plan.run_dir / "index"
    # The index's own time stamp is part of its meaning (files changed in the same second), so it is kept.
    shutil.copy2(plan.folder / ".git" / "index", index)
    return Workspace(plan.folder, index, plan.start_sha)


def bare_clone(mirror: Mirror, folder: Path) -> None:
    """A clone without files and without a remote, whose objects are the mirror's."""
    git(
        "clone",
        "--quiet",
        "--shared",
        "--no-checkout",
        "--no-tags",
        "--template=",
        "--single-branch",
        f"--branch={mirror.base_branch}",
        str(with_head(mirror)),
        str(folder),
        cwd=folder.parent,
    )
    git("remote", "remove", "origin", cwd=folder)


def view(mirror: Mirror, workspace: Workspace) -> View:
    """The tree, and the objects that its repository is made of."""
    objects = alternates_folder(mirror)
    return View(workspace.path, shown=(Shown(objects, str(objects)),))


def run_git(
    mirror: Mirror,
    workspace: Workspace,
    inside: Inside | None,
    *arguments: str,
    stdin: bytes | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    refuse: Sequence[str] = (),
) -> str:
    """git on the host, with the mirror as its repository: nothing of the workspace's own `.git` is read."""
    environment = {"GIT_INDEX_FILE": str(workspace.index), "GIT_WORK_TREE": str(workspace.path)}
    return mirror.git(
        *arguments,
        cwd=workspace.path,
        environment=environment,
        stdin=stdin,
        timeout_seconds=timeout_seconds,
        refuse=refuse,
    )


def gather(mirror: Mirror, workspace: Workspace, inside: Inside | None, tree: str) -> None:
    """Nothing: `run_git` writes into the mirror."""


def unlock(mirror: Mirror, workspace: Workspace, inside: Inside | None) -> None:
    """No link is followed."""
    subprocess.run(UNLOCK, cwd=workspace.path, capture_output=True)


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """Links, alternates and `commondir` are as they were made."""
    folder = workspace.path / ".git"
    alternates = folder / "objects" / "info" / "alternates"
    for place in (folder, folder / "objects", alternates.parent, alternates, folder / "refs"):
        if place.is_symlink():
            raise GitError(f"{place}: is a link now; the workspace's repository was tampered with")
    if not folder.is_dir():
        raise GitError(f"{folder}: is no folder any more; the workspace's repository was tampered with")
    expected = alternates_of(mirror).encode()
    # Its size first: it may be a hole of terabytes.
    if not alternates.is_file() or alternates.stat().st_size != len(expected) or alternates.read_bytes() != expected:
        raise GitError(f"{alternates}: was changed; the workspace's repository was tampered with")
    if (folder / "commondir").exists():
        raise GitError(f"{folder / 'commondir'}: was added; the workspace's repository was tampered with")


def forget(mirror: Mirror, workspace: Workspace) -> None:
    """Nothing: its repository went with its folder."""


def with_head(mirror: Mirror) -> Path:
    """The mirror, with refs/heads/<base> at the fetched base: `clone` only follows branches."""
    tracked = f"refs/remotes/origin/{mirror.base_branch}"
    # Not through it: a run in the `worktree` layout may have made it a name for another ref.
    mirror.git("update-ref", "--no-deref", f"refs/heads/{mirror.base_branch}", tracked)
    return mirror.path
