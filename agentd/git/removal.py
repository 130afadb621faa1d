"""Trees that an agent has made: moved out of the way, and deleted whatever is in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agentd.errors import GitError


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
        delete(set_aside(path))


def delete(path: Path) -> None:
    """Delete a tree of any depth. What cannot be deleted stays."""
    subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)
    if path.exists() and not path.is_symlink():
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], capture_output=True)
        subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True)
