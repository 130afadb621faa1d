"""The `worktree` layout: a linked worktree of the mirror itself, for the agents of trusted profiles alone.

What such an agent commits is in the mirror at once, so it writes loose objects and branches there. Everything else of
the mirror is read-only for it: its configuration, hooks and packs, agentd's own refs, other worktrees. On the host git
goes on with the mirror as its repository, and with nothing that the worktree's `.git` names: see docs/security.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts.clone import gather, run_git, unlock, with_head
from agentd.git.layouts.protocol import Plan, Shown, View, Workspace
from agentd.git.mirror import Mirror, resolve
from agentd.git.removal import delete
from agentd.git.runner import git

WRITABLE = ("objects", "refs/heads", "refs/tags")
"""Of the mirror, what an agent that makes commits, branches and tags must write."""
CLOSED = ("objects/pack", "objects/info")
"""Within that, what it need not: history as it was fetched, and the places of objects elsewhere."""
SETTINGS = {"gc.auto": "0", "maintenance.auto": "false", "core.logAllRefUpdates": "false"}
"""Of the mirror, for the agent's own git: nothing is tidied up among everybody's objects, no reflog beside them."""
COMMON = "../..\n"
"""What `commondir` of a linked worktree says (gitrepository-layout(5))."""

__all__ = ["check_untampered", "forget", "gather", "make", "run_git", "unlock", "view"]


def make(plan: Plan) -> Workspace:
    """`git worktree add`, locked; the index is copied for the supervisor. What the branch was before is kept."""
    mirror, branch = plan.mirror, f"refs/heads/{plan.branch}"
    with_head(mirror)
    with mirror.locked():
        for name, value in SETTINGS.items():
            mirror.git("config", name, value)
    for folder in (*WRITABLE, *CLOSED):
        (mirror.path / folder).mkdir(parents=True, exist_ok=True)
    before = resolve(mirror, branch)
    if before is not None and before != plan.commit:
        # A run that was killed may have committed there.
        mirror.git("update-ref", f"refs/agentd/runs/{plan.run_dir.name}/before", before)
    reason = f"run {plan.run_dir.name}"
    with mirror.checking_out():
        # Forced twice: what a killed maker has left at this very place is taken over, its lock too.
        arguments = ("--quiet", "--detach", "--force", "--force", "--lock", "--reason", reason)
        mirror.git("worktree", "add", *arguments, str(plan.folder), plan.commit)
    admin = Path((plan.folder / ".git").read_text().removeprefix("gitdir: ").rstrip("\n"))
    (admin / "gitdir").write_text(f"{plan.place / '.git'}\n")
    mirror.git("update-ref", "--no-deref", branch, plan.commit)
    git("symbolic-ref", "HEAD", branch, git_dir=admin)
    index = plan.run_dir / "index"
    # The index's own time stamp is part of its meaning (files changed in the same second), so it is kept.
    shutil.copy2(admin / "index", index)
    return Workspace(plan.folder, index, plan.start_sha, "worktree", admin=admin)


def view(mirror: Mirror, workspace: Workspace) -> View:
    """The tree, and the mirror at its own place: read-only, but for what a commit writes."""
    shown = [Shown(mirror.path, str(mirror.path))]
    shown += [Shown(mirror.path / name, str(mirror.path / name), writable=True) for name in WRITABLE]
    shown += [Shown(mirror.path / name, str(mirror.path / name)) for name in CLOSED]
    admin = _admin(workspace)
    return View(workspace.path, shown=(*shown, Shown(admin, str(admin), writable=True)))


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """`.git` and `commondir` still lead to the mirror."""
    admin = _admin(workspace)
    for place, expected in ((workspace.path / ".git", f"gitdir: {admin}\n"), (admin / "commondir", COMMON)):
        if place.is_symlink() or not place.is_file():
            raise GitError(f"{place}: is no file any more; the workspace's repository was tampered with")
        # Its size first: it may be a hole of terabytes.
        if place.stat().st_size != len(expected.encode()) or place.read_text() != expected:
            raise GitError(f"{place}: was changed; the workspace's repository was tampered with")


def forget(mirror: Mirror, workspace: Workspace) -> None:
    """The mirror's folder of the worktree."""
    if workspace.admin is not None:
        delete(workspace.admin)


def _admin(workspace: Workspace) -> Path:
    if workspace.admin is None:
        raise GitError(f"{workspace.path}: its record does not say which worktree of the mirror it is")
    return workspace.admin
