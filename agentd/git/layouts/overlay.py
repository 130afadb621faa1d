"""The `overlay` layout: a shared base checkout below, the run's own files above, one tree inside the sandbox alone.

A workspace is a folder with `upper` (what the run has written; people may look at it), `work` (the kernel's own) and a
record. The tree exists only where the sandbox mounts it, so git reads it there too, with a repository of the
supervisor's that no program of the run ever sees. What it wrote comes into the mirror as a pack that git on the host
checks object by object.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts.bases import RECORD, base_of
from agentd.git.layouts.protocol import (
    UNLOCK,
    Inside,
    Plan,
    Shown,
    View,
    Workspace,
    alternates_folder,
    alternates_of,
    required,
)
from agentd.git.layouts.written import OPAQUE, answer, monitor, written
from agentd.git.mirror import Mirror, resolve, tree_of
from agentd.git.runner import ENVIRONMENT, TIMEOUT_SECONDS, command, git

SCRATCH = "/agentd.git"
"""Where the supervisor's repository is inside, while git reads the tree."""
LOOKING = ("add", "read-tree")
"""Commands that compare files with the index."""
INDEX_ALONE = ("ls-files", "diff-index")
"""Commands that read the index and the mirror, and no file of the tree, as they are given here."""
ANSWER = "written"
"""In that repository: what git is told to look at. It stays: a command that finds none forgets what git has seen."""
HEADER_BYTES = 12
"""Of a pack: a word, its version, and the number of its objects, four bytes each."""
FEW_OBJECTS = 100
"""Fewer become loose objects, as those of a fetch do (fetch.unpackLimit): a pack for each turn would be many."""


def make(plan: Plan) -> Workspace:
    """Two folders over the base; what the wanted commit has otherwise than the base is written into the upper one."""
    mirror, inside = plan.mirror, required(plan.inside)
    lower = _fork(mirror, plan.start_sha)
    base = base_of(mirror, lower, inside)
    scratch = _scratch(mirror, plan.run_dir)
    index = scratch / "index"
    # The index's own time stamp is part of its meaning (files changed in the same second), so it is kept.
    shutil.copy2(base / ".git" / "index", index)
    workspace = Workspace(plan.folder, index, plan.start_sha, "overlay", base)
    for folder in (plan.folder, workspace.files, workspace.work):
        folder.mkdir(mode=0o700)
        os.chown(folder, os.getuid(), os.getgid())
    # The root of the tree inside.
    workspace.files.chmod(0o755)
    (plan.folder / RECORD).write_text(json.dumps({"base": lower, "start_sha": plan.start_sha, "branch": plan.branch}))
    if plan.commit != lower:
        run_git(mirror, workspace, inside, "read-tree", "-m", "-u", lower, plan.commit)
    repository = workspace.files / ".git"
    heads = {plan.branch: plan.commit, mirror.base_branch: resolve(mirror, f"refs/remotes/origin/{mirror.base_branch}")}
    for name, sha in heads.items():
        head = repository / "refs" / "heads" / name
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_text(f"{sha or lower}\n")
    (repository / "HEAD").write_text(f"ref: refs/heads/{plan.branch}\n")
    if plan.commit != lower:
        shutil.copy2(index, repository / "index")
    return workspace


def view(mirror: Mirror, workspace: Workspace) -> View:
    """The overlay, and the objects that its repository is made of."""
    objects = alternates_folder(mirror)
    return View(workspace.files, workspace.base, workspace.work, (Shown(objects, str(objects)),))


def run_git(
    mirror: Mirror,
    workspace: Workspace,
    inside: Inside | None,
    *arguments: str,
    stdin: bytes | None = None,
    stdout: Path | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    refuse: Sequence[str] = (),
) -> str:
    """git inside, with a repository of the supervisor's own: nothing of the workspace's own `.git` is read."""
    if arguments[0] in INDEX_ALONE:
        return _read_index(mirror, workspace, *arguments, timeout_seconds=timeout_seconds)
    seen = view(mirror, workspace)
    # What a killed git left; nobody else uses this index.
    workspace.index.with_name("index.lock").unlink(missing_ok=True)
    scratch = Shown(workspace.index.parent, SCRATCH, writable=True)
    if arguments[0] in LOOKING:
        workspace.index.with_name(ANSWER).write_bytes(answer(_in_doubt(mirror, workspace)))
    return required(inside)(
        View(seen.files, seen.base, seen.work, (*seen.shown, scratch)),
        # Given to every command: one that writes the index without it forgets what git has looked at.
        command(*arguments, options=(monitor(f"cat {SCRATCH}/{ANSWER}"),)),
        environment={**ENVIRONMENT, "GIT_DIR": SCRATCH, "GIT_WORK_TREE": "."},
        stdin=stdin or b"",
        stdout=stdout,
        timeout_seconds=timeout_seconds,
        refuse=refuse,
    )


def _in_doubt(mirror: Mirror, workspace: Workspace) -> list[str] | None:
    """Paths in which the tree or the index may be other than the base; None stands for all."""
    if workspace.base is None or (paths := written(workspace.files, workspace.base)) is None:
        return None
    # A file that the run made, was looked at, and is gone again: the upper folder knows nothing of it.
    arguments = ("diff-index", "--cached", "--name-only", "--no-renames", "-z", workspace.base.name)
    known = _read_index(mirror, workspace, *arguments)
    return [*paths, *filter(None, known.split("\0"))]


def _read_index(mirror: Mirror, workspace: Workspace, *arguments: str, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """git on the host, which needs no tree for it."""
    index = {"GIT_INDEX_FILE": str(workspace.index)}
    return mirror.git(*arguments, environment=index, timeout_seconds=timeout_seconds)


def gather(mirror: Mirror, workspace: Workspace, inside: Inside | None, tree: str) -> None:
    """A pack of what the mirror lacks of the tree, checked as a fetch with `fetch.fsckObjects` is. Raises GitError."""
    known = tree_of(mirror, workspace.start_sha)
    if known == tree:
        return
    pack = workspace.index.with_name("collected.pack")
    wanted = f"{tree}\n^{known}\n".encode()  # a tree: beside a commit, git would pack what it has as well
    arguments = ("pack-objects", "--quiet", "--revs", "--thin", "--stdout")
    run_git(mirror, workspace, inside, *arguments, stdin=wanted, stdout=pack)
    # Without a buffer: git reads on where the descriptor is.
    with pack.open("rb", buffering=0) as file:
        objects = int.from_bytes(file.read(HEADER_BYTES)[8:], "big")
        file.seek(0)
        if objects < FEW_OBJECTS:
            mirror.git("unpack-objects", "-q", "--strict", stdin=file)
        else:
            mirror.git("index-pack", "--stdin", "--fix-thin", "--strict", stdin=file)
    pack.unlink()
    if mirror.git("cat-file", "-t", tree) != "tree":
        raise GitError(f"{tree}: is no tree; the workspace's content could not be brought into the mirror")


def unlock(mirror: Mirror, workspace: Workspace, inside: Inside | None) -> None:
    """No link is followed."""
    clean = {"PATH": os.defpath, "LC_ALL": "C"}
    required(inside)(view(mirror, workspace), UNLOCK, environment=clean, timeout_seconds=TIMEOUT_SECONDS)


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """No link, no folder made anew, and no other alternates or `commondir` stand over those of the base."""
    repository = workspace.files / ".git"
    alternates = repository / "objects" / "info" / "alternates"
    for place in (workspace.files, repository, repository / "objects", alternates.parent, repository / "refs"):
        if place.is_symlink() or (os.path.lexists(place) and not place.is_dir()):
            raise GitError(f"{place}: is no folder any more; the workspace's repository was tampered with")
        if place.is_dir() and _is_opaque(place):
            raise GitError(f"{place}: was made anew; the workspace's repository was tampered with")
    expected = alternates_of(mirror).encode()
    if os.path.lexists(alternates) and (
        alternates.is_symlink()
        or not alternates.is_file()
        # Its size first: it may be a hole of terabytes.
        or alternates.stat().st_size != len(expected)
        or alternates.read_bytes() != expected
    ):
        raise GitError(f"{alternates}: was changed; the workspace's repository was tampered with")
    if os.path.lexists(repository / "commondir"):
        raise GitError(f"{repository / 'commondir'}: was added; the workspace's repository was tampered with")


def forget(mirror: Mirror, workspace: Workspace) -> None:
    """Nothing: bases go when nothing is made of them."""


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _fork(mirror: Mirror, sha: str) -> str:
    """The newest commit of the base branch that `sha` has: what begins there shares one base checkout."""
    tracked = f"refs/remotes/origin/{mirror.base_branch}"
    return mirror.git("merge-base", sha, tracked, accept=(0, 1, 128)) or sha


def _scratch(mirror: Mirror, run_dir: Path) -> Path:
    """A new repository for reading one workspace, beside the run, with the mirror's objects below its own."""
    scratch = run_dir / "scratch.git"
    shutil.rmtree(scratch, ignore_errors=True)
    git("init", "--quiet", "--bare", "--template=", str(scratch), cwd=run_dir)
    (scratch / "objects" / "info").mkdir(exist_ok=True)
    (scratch / "objects" / "info" / "alternates").write_text(alternates_of(mirror))
    return scratch
