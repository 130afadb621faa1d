"""Workspaces of the `clone` layout: a shared clone of the mirror, which the agent may do anything with.

After the agent has been in it no git runs inside it: see agentd.git.collect.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from agentd.errors import GitError
from agentd.git.mirror import Mirror
from agentd.git.runner import git


@dataclass(frozen=True)
class Workspace:
    """One run's tree, with the index that only the supervisor has."""

    path: Path
    """where the agent works"""
    index: Path
    """the supervisor's own index of the tree as it was checked out"""
    start_sha: str
    """commit that the agent began from"""


def prepare(mirror: Mirror, path: Path, run_dir: Path, branch: str, start_sha: str, kept: str = "") -> Workspace:
    """Make the workspace at `start_sha` on `branch`, or take up the one that this run left there before.

    `kept` is the commit that the run has made since, perhaps on another host: what is here is as new, or newer, when
    it has been that commit, and else out of date: then the workspace is made anew with its content. A workspace that
    is in the way is moved aside, never deleted here.
    """
    record = run_dir / "workspace.json"
    if record.is_file() and path.is_dir():
        known = json.loads(record.read_text())
        if not kept or kept in known["kept"]:
            return Workspace(path, Path(known["index"]), known["start_sha"])
    if path.exists() or path.is_symlink():
        set_aside(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    _remove(fresh)
    git(
        "clone",
        "--quiet",
        "--shared",
        "--no-checkout",
        "--no-tags",
        "--template=",
        "--single-branch",
        f"--branch={mirror.base_branch}",
        str(_with_head(mirror)),
        str(fresh),
        cwd=path.parent,
    )
    git("remote", "remove", "origin", cwd=fresh)
    git("checkout", "--quiet", "-B", branch, "--no-track", kept or start_sha, cwd=fresh)
    index = run_dir / "index"
    # The index's own time stamp is part of its meaning (files changed in the same second), so it is kept.
    shutil.copy2(fresh / ".git" / "index", index)
    fresh.rename(path)
    workspace = Workspace(path, index, start_sha)
    _record(run_dir, workspace, [kept] if kept else [])
    return workspace


def note_kept(run_dir: Path, workspace: Workspace, commit: str) -> None:
    """Note that the workspace's content has become this commit of the run too."""
    known = json.loads((run_dir / "workspace.json").read_text())
    _record(run_dir, workspace, [*known["kept"], commit])


def note_moved(run_dir: Path, workspace: Workspace, commit: str, start_sha: str) -> None:
    """Note that the workspace was brought to this commit, and that work goes on from `start_sha`."""
    known = json.loads((run_dir / "workspace.json").read_text())
    _record(run_dir, Workspace(workspace.path, workspace.index, start_sha), [*known["kept"], commit])


def _record(run_dir: Path, workspace: Workspace, kept: list[str]) -> None:
    known = {key: str(value) for key, value in asdict(workspace).items()}
    record = run_dir / "workspace.json"
    record.with_suffix(".new").write_text(json.dumps({**known, "kept": kept}))
    record.with_suffix(".new").rename(record)


def alternates_folder(mirror: Mirror) -> Path:
    """The objects that a workspace's repository reads beside its own."""
    return mirror.path / "objects"


def alternates_of(mirror: Mirror) -> str:
    """What `objects/info/alternates` of a workspace must say; anything else was written by the agent."""
    return f"{alternates_folder(mirror)}\n"


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """Raises GitError when the agent has bent the places that git reads while it fetches from the workspace."""
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


def set_aside(path: Path) -> Path:
    """Move a workspace out of the way under a name that nothing else uses; deleting comes later, after proof."""
    for number in range(1, 10_000):
        aside = path.with_name(f".aside-{path.name}-{number}")
        if not aside.exists() and not aside.is_symlink():
            path.rename(aside)
            return aside
    raise GitError(f"{path}: ten thousand old workspaces beside it; clean {path.parent} up")


def remove(path: Path) -> None:
    """Delete a workspace whose content is proven to be on a ref: moved first, so that a crash leaves no half of it."""
    if path.exists() or path.is_symlink():
        _remove(set_aside(path))


def _remove(path: Path) -> None:
    """Delete a tree of any depth. What cannot be deleted stays."""
    subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)
    if path.exists() and not path.is_symlink():
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], capture_output=True)
        subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)


def _with_head(mirror: Mirror) -> Path:
    """The mirror, with refs/heads/<base> at the fetched base: `clone` only follows branches."""
    tracked = f"refs/remotes/origin/{mirror.base_branch}"
    mirror.git("update-ref", f"refs/heads/{mirror.base_branch}", tracked)
    return mirror.path
