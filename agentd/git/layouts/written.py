"""What a run may have written in an overlay: all the rest is the base's, and git need not look at it.

git asks a program which paths have changed since it last looked (githooks(5), fsmonitor-watchman, version 2) and takes
what its index says of all others. What the upper folder does not name is in the tree as it is in the base; that and the
index's own differences from the base are the answer here. Whatever is in doubt makes git look at every file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

OPAQUE = "user.overlay.opaque"
"""On an upper folder that hides the lower one (kernel, Documentation/filesystems/overlayfs.rst)."""
REDIRECT = "user.overlay.redirect"
"""On an upper folder whose lower one has another name; not made by the mounts of the sandbox."""
MAX_ENTRIES = 10_000
"""Looked at in upper folders that merge with one of the base; beyond them git's own look is as fast."""

NOTHING = r"printf 'agentd\0'"
"""A program that tells git of no change."""


def monitor(program: str) -> str:
    """The setting by which git asks a shell command; what git adds to it, a version and a token, is of no use here."""
    return f"core.fsmonitor={program} #"


def written(upper: Path, base: Path) -> list[str] | None:
    """Paths from the tree's root, each for itself and all below it, in which the tree may be other than the base.

    None where that cannot be told. Names are the agent's: no link is followed.
    """
    found: list[str] = []
    folders = [""]
    left = MAX_ENTRIES
    try:
        if _stands_alone(str(upper)):
            return None
        while folders:
            folder = folders.pop()
            with os.scandir(f"{upper}/{folder}") as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return None
                    name = f"{folder}{entry.name}"
                    if name == ".git":
                        continue
                    merges = entry.is_dir(follow_symlinks=False) and _is_folder(f"{base}/{name}")
                    if merges and not _stands_alone(entry.path):
                        folders.append(f"{name}/")
                    else:
                        found.append(name)
    except OSError:
        return None
    return found


def answer(paths: list[str] | None) -> bytes:
    """What git is told: a token, and the paths; one slash stands for everything."""
    told = ["/"] if paths is None else [form for path in paths for form in (path, f"{path}/")]
    return "".join(f"{word}\0" for word in ("agentd", *told)).encode(errors="surrogateescape")


def _stands_alone(folder: str) -> bool:
    """Whether an upper folder shows none, or another one, of the base's."""
    return not {OPAQUE, REDIRECT}.isdisjoint(os.listxattr(folder, follow_symlinks=False))


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
