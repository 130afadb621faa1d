"""What a layout of workspaces is told and what it hands out: data, since git knows nothing of sandboxes.

A layout is a module with these functions, registered in agentd.git.layouts.LAYOUTS:

- `make(plan)`: the files of a new workspace, in `plan.folder`. Raises GitError.
- `view(mirror, workspace)`: what programs of the run must see.
- `run_git(mirror, workspace, inside, *arguments, ...)`: git on the workspace's content, with the supervisor's own
  repository, configuration and index. Raises GitError.
- `gather(mirror, workspace, inside, tree)`: the objects of a tree that `run_git` wrote, brought into the mirror.
- `unlock(mirror, workspace, inside)`: lets the owner write to every folder of the tree.
- `check_untampered(mirror, workspace)`: raises GitError when the agent has bent the places of its repository that git
  reads while it fetches from there.
- `forget(mirror, workspace)`: what the mirror keeps of a workspace whose folder is gone, removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from agentd.errors import GitError
from agentd.git.mirror import Mirror

LayoutName = Literal["clone", "overlay", "worktree"]


@dataclass(frozen=True)
class Workspace:
    """One run's tree, with the index that only the supervisor has."""

    path: Path
    """the workspace's folder: the tree itself, unless it is an overlay"""
    index: Path
    """the supervisor's own index of the tree as it was checked out"""
    start_sha: str
    """commit that the agent began from"""
    layout: LayoutName = "clone"
    base: Path | None = None
    """the base checkout that is seen below the run's own files; None where all files are its own"""
    admin: Path | None = None
    """the mirror's folder of a linked worktree: its HEAD, its index; None where the repository is its own"""

    @property
    def files(self) -> Path:
        """Where on the host is what the run has written; all of its tree, unless it is an overlay."""
        return self.path / "upper" if self.layout == "overlay" else self.path

    @property
    def work(self) -> Path:
        """What an overlay needs beside its upper folder."""
        return self.path / "work"


@dataclass(frozen=True)
class Shown:
    """A host path that is there inside."""

    source: Path
    target: str
    writable: bool = False
    over: bool = False
    """stands within an earlier one"""


@dataclass(frozen=True)
class View:
    """The tree that a program inside sees, and what else must be there for it."""

    files: Path
    """the tree, or the upper folder of an overlay"""
    base: Path | None = None
    """the lower folder, where there is an overlay"""
    work: Path | None = None
    shown: tuple[Shown, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """symlinks inside: what each points to, and where it is"""


class Inside(Protocol):
    """Runs a program to its end in a sandbox, in the folder that shows the view's tree; what it printed.

    Raises GitError when it fails, takes too long, or complains with words of `refuse` whatever its exit status. With
    `stdout` its output goes to that file, which it makes.
    """

    def __call__(
        self,
        view: View,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: bytes = b"",
        stdout: Path | None = None,
        timeout_seconds: float,
        refuse: Sequence[str] = (),
    ) -> str: ...


@dataclass(frozen=True)
class Plan:
    """A workspace that is to be made."""

    mirror: Mirror
    folder: Path
    """where it is made; it is moved to its place when it is whole"""
    place: Path
    run_dir: Path
    branch: str
    start_sha: str
    commit: str
    """what its content is: the start, or what the run has made since on another host"""
    inside: Inside | None = None


def alternates_folder(mirror: Mirror) -> Path:
    """The objects that a workspace's repository reads beside its own."""
    return mirror.path / "objects"


def alternates_of(mirror: Mirror) -> str:
    """What `objects/info/alternates` of a workspace must say; anything else was written by the agent."""
    return f"{alternates_folder(mirror)}\n"


UNLOCK = ("find", ".", "-type", "d", "!", "-perm", "-700", "-exec", "chmod", "u+rwx", "{}", ";")
"""In the tree; a folder is opened before it is entered."""


def required(inside: Inside | None) -> Inside:
    """The runner of programs inside. Raises GitError where a caller has none."""
    if inside is None:
        raise GitError("a workspace of the overlay layout can be read only from within a sandbox (sandbox = required)")
    return inside
