"""Trees that an agent has made: moved out of the way, and deleted whatever is in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agentd.errors import GitError

GONE = ".gone-"
"""Begins the names of trees that are being deleted; a crash leaves them for the next clean-up."""


def set_aside(path: Path) -> Path:
    """Move a workspace out of the way under a name that nothing else uses; deleting comes later, after proof."""
    aside = free_name(path)
    path.rename(aside)
    return aside


def free_name(path: Path, prefix: str = ".aside-") -> Path:
    """Where a workspace can be set aside. Raises GitError."""
    for number in range(1, 10_000):
        aside = path.with_name(f"{prefix}{path.name.removeprefix('.aside-')}-{number}")
        if not aside.exists() and not aside.is_symlink():
            return aside
    raise GitError(f"{path}: ten thousand old workspaces beside it; clean {path.parent} up")


def remove(path: Path) -> None:
    """Delete a workspace whose content is proven to be on a ref: moved first, so that a crash leaves no half of it."""
    if path.exists() or path.is_symlink():
        gone = free_name(path, GONE)
        path.rename(gone)
        delete(gone)
    owner_file(path).unlink(missing_ok=True)


def owner_file(path: Path) -> Path:
    """Beside a workspace, where no program of a run can write: the id of the run whose it is."""
    return path.with_name(f".{path.name}.run")


def delete(path: Path) -> None:
    """Delete a tree of any depth. What cannot be deleted stays."""
    subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)
    if path.exists() and not path.is_symlink():
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], capture_output=True)
        subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)
