"""The `worktree` layout: a linked worktree of the mirror itself, for the agents of trusted profiles alone.

What such an agent commits is in the mirror at once, so it writes loose objects, branches and tags there. Inside, the
mirror is put together of pieces: these three; its configuration, packs and the base read-only; a folder of the run's
own for reflogs and for refs of other kinds. Hooks, agentd's own refs and other worktrees are not there. On the host git
goes on with the mirror as its repository, and with nothing that the worktree's `.git` names: see docs/security.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts.clone import gather, run_git, unlock, with_head
from agentd.git.layouts.protocol import Plan, Shown, View, Workspace
from agentd.git.mirror import Mirror, resolve
from agentd.git.removal import delete
from agentd.git.runner import git

WRITABLE = ("objects", "refs/heads", "refs/tags")
"""Of the mirror, what an agent that makes commits, branches and tags must write."""
READABLE = ("HEAD", "config", "info", "objects/pack", "objects/info", "refs/remotes")
"""Of the mirror, what git reads besides: history as it was fetched, and the places of objects elsewhere."""
COMMON = "agentd-common"
"""In the mirror's folder of a worktree: what stands for the rest of the mirror inside; on the host nobody reads it."""
SETTINGS = {"gc.auto": "0", "maintenance.auto": "false"}
"""Of the mirror, for the agent's own git: nothing is tidied up among everybody's objects."""

__all__ = ["check_untampered", "forget", "gather", "make", "run_git", "unlock", "view"]


def make(plan: Plan) -> Workspace:
    """`git worktree add`, locked; the index is copied for the supervisor. What the branch was before is kept."""
    mirror, branch = plan.mirror, f"refs/heads/{plan.branch}"
    with_head(mirror)
    _prepare(mirror)
    before = resolve(mirror, branch)
    if before is not None and before != plan.commit:
        # A run that was killed may have committed there.
        mirror.git("update-ref", f"refs/agentd/runs/{plan.run_dir.name}/before", before)
    with mirror.checking_out():
        # Forced twice: what a killed maker has left at this very place is taken over, its lock too.
        arguments = ("--quiet", "--detach", "--force", "--force", "--lock", "--reason", f"run {plan.run_dir.name}")
        mirror.git("worktree", "add", *arguments, str(plan.folder), plan.commit)
    admin = Path((plan.folder / ".git").read_text().removeprefix("gitdir: ").rstrip("\n"))
    (admin / "gitdir").write_text(f"{plan.place / '.git'}\n")
    mirror.git("update-ref", "--no-deref", branch, plan.commit)
    git("symbolic-ref", "HEAD", branch, git_dir=admin)
    for folder in ("logs", "refs/heads", "refs/tags", "refs/remotes"):
        (admin / COMMON / folder).mkdir(parents=True)
    (admin / COMMON / "packed-refs").write_text("".join(_packed(mirror)))
    index = plan.run_dir / "index"
    # The index's own time stamp is part of its meaning (files changed in the same second), so it is kept.
    shutil.copy2(admin / "index", index)
    return Workspace(plan.folder, index, plan.start_sha, "worktree", admin=admin)


def view(mirror: Mirror, workspace: Workspace) -> View:
    """The tree, and the mirror at its own place, put together of pieces."""
    admin, place = _admin(workspace), mirror.path
    common = admin / COMMON
    shown = [Shown(common / name, str(place / name), writable=True) for name in ("refs", "logs")]
    shown += [Shown(place / name, str(place / name), writable=True, over=True) for name in WRITABLE]
    shown += [Shown(place / name, str(place / name), over=True) for name in READABLE]
    # git makes the lock of what is behind a link beside that, and the mirror's own folder is nobody's to write.
    links = ((str(common / "packed-refs"), str(place / "packed-refs")),)
    return View(workspace.path, shown=(*shown, Shown(admin, str(admin), writable=True)), links=links)


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """`.git` and `commondir` still lead to the mirror (gitrepository-layout(5))."""
    admin = _admin(workspace)
    for place, expected in ((workspace.path / ".git", f"gitdir: {admin}\n"), (admin / "commondir", "../..\n")):
        if place.is_symlink() or not place.is_file():
            raise GitError(f"{place}: is no file any more; the workspace's repository was tampered with")
        # Its size first: it may be a hole of terabytes.
        if place.stat().st_size != len(expected.encode()) or place.read_text() != expected:
            raise GitError(f"{place}: was changed; the workspace's repository was tampered with")


def forget(mirror: Mirror, workspace: Workspace) -> None:
    """The mirror's folder of the worktree."""
    if workspace.admin is not None:
        delete(workspace.admin)


def _prepare(mirror: Mirror) -> None:
    """What a linked worktree needs of the mirror, made when it is not there."""
    for folder in ("info", "objects/info", "objects/pack", "refs/heads", "refs/tags", "refs/remotes"):
        (mirror.path / folder).mkdir(parents=True, exist_ok=True)
    with mirror.locked():
        for name, value in SETTINGS.items():
            mirror.git("config", name, value)


def _packed(mirror: Mirror) -> Iterator[str]:
    """The mirror's packed refs less agentd's own, as lines."""
    file = mirror.path / "packed-refs"
    keep = True
    for line in file.read_text().splitlines(keepends=True) if file.is_file() else ():
        if not line.startswith("^"):  # which belongs to the line before
            keep = " refs/agentd/" not in line
        if keep:
            yield line


def _admin(workspace: Workspace) -> Path:
    if workspace.admin is None:
        raise GitError(f"{workspace.path}: its record does not say which worktree of the mirror it is")
    return workspace.admin
