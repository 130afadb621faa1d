"""Where a path inside a sandbox really leads, seen from outside: links are followed as they would be inside."""

from __future__ import annotations

import errno
import os
import posixpath
from pathlib import Path

from agentd.sandbox.profile import HOME, WORKSPACE, SandboxSpec, is_within

MOST_LINKS = 40
"""As the kernel: more of them lead nowhere."""
MOST_PARTS = 512
"""Of a path and of the links on its way, each of which is looked up by the whole of what is before it."""

Shown = tuple[tuple[str, Path], ...]
"""Folders inside, and where each is outside; where two show the same folder the first one lies over the other."""


def shown_by(spec: SandboxSpec) -> Shown:
    """What of the host a sandbox shows in which links can stand: the tree, the home and what is mounted."""
    lower = ((WORKSPACE, spec.lower.base),) if spec.lower else ()
    home = ((HOME, spec.home),) if spec.home else ()
    return ((WORKSPACE, spec.workspace), *lower, *home, *((mount.target, mount.source) for mount in spec.mounts))


def leads_to(path: str, shown: Shown) -> str:
    """The absolute path inside that a path leads to; of what is not there, the rest as it is written.

    Raises ValueError for a path that is too long to be looked up, or has more than MOST_PARTS.
    """
    at, links, walked = "/", 0, 0
    rest = _parts(path)
    rest.reverse()
    while rest:
        walked += 1
        if walked > MOST_PARTS:
            raise ValueError(f"the path has more than {MOST_PARTS} parts")
        part = rest.pop()
        if part == "..":
            at = posixpath.dirname(at)
            continue
        here = posixpath.join(at, part)
        target = _link(here, shown) if links < MOST_LINKS else None
        if target is None:
            at = here
            continue
        links += 1
        rest += reversed(_parts(target))
        at = "/" if target.startswith("/") else at
    return at


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _link(path: str, shown: Shown) -> str | None:
    for outside in _outside(path, shown):
        try:
            return str(Path(outside).readlink())
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                # Outside it may be longer than inside, where a link could be at its end.
                raise ValueError("the path is too long") from None
            if os.path.lexists(outside):
                return None  # it is no link, and nothing that lies below it counts
    return None


def _outside(path: str, shown: Shown) -> list[str]:
    inner = max((len(folder) for folder, _ in shown if is_within(path, folder)), default=0)
    places = [(folder, place) for folder, place in shown if len(folder) == inner and is_within(path, folder)]
    return [f"{place}{path.removeprefix(folder.rstrip('/'))}" for folder, place in places if path != folder]
