"""A bound on processes that the kernel keeps for root too, for whom RLIMIT_NPROC does not hold: a pids cgroup.

The guardian must start fast: few imports.
"""

from __future__ import annotations

import os
import time

PREFIX = "agentd-"
BWRAP = 2
"""bubblewrap and the first process inside, which the program's bound does not count."""
STALE_SECONDS = 60.0
"""An empty group of this age belongs to a guardian that was killed: a living one fills its own at once."""


class PidsGroup:
    """A cgroup of its own for one program."""

    def __init__(self, folder: str, most: int) -> None:
        """`folder` exists. Raises OSError when it has no count of processes, or cannot be written."""
        self.folder = folder
        with open(f"{folder}/pids.max", "r+") as bound:
            bound.write(str(most + BWRAP))
        self._members = os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Called in the child, before the program: it and all that it starts count. Where that fails, samples count."""
        try:
            os.write(self._members, b"0")
        except OSError:
            pass

    def remove(self) -> None:
        """After its last process has ended."""
        if self._members >= 0:
            os.close(self._members)
            self._members = -1
        _remove(self.folder)


def pids_group(most: int) -> PidsGroup | None:
    """A new group for at most so many processes and threads; None where the kernel gives none, or none is needed."""
    if os.geteuid() != 0:
        return None
    try:
        with open("/proc/self/mountinfo") as mounts, open("/proc/self/cgroup") as groups:
            parents = parents_of(mounts.read(), groups.read())
    except OSError:
        return None
    for parent in parents:
        folder = f"{parent}/{PREFIX}{os.getpid()}-{time.monotonic_ns()}"
        try:
            _remove_stale(parent)
            os.mkdir(folder)
        except OSError:
            continue
        try:
            return PidsGroup(folder, most)
        except OSError:
            _remove(folder)
    return None


def parents_of(mounts: str, groups: str) -> list[str]:
    """Folders in which a group may be made: of cgroup v1 this process's own; of v2 that one or the one above, since a
    group with processes in it cannot hand the count to groups below (cgroups(7), "no internal processes").

    `mounts` and `groups` are /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)).
    """
    own = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, target = before.split()[3:5]
        kind, _, options = after.split()[:3]
        controller = {"cgroup": "pids", "cgroup2": ""}.get(kind)
        if controller not in own or (controller and controller not in options.split(",")):
            continue
        path = own[controller]
        below = path[len(root.rstrip("/")) :] if path.startswith(root) else ""
        folder = os.path.normpath(f"{target}/{below}")
        found.append(folder)
        if kind == "cgroup2" and folder != target:
            found.append(os.path.dirname(folder))
    return found


def _remove_stale(parent: str) -> None:
    with os.scandir(parent) as entries:
        folders = [entry for entry in entries if entry.name.startswith(PREFIX)]
    for folder in folders:
        try:
            age = time.time() - folder.stat().st_mtime
        except OSError:
            continue  # gone meanwhile, with its program
        if age > STALE_SECONDS:
            _remove(folder.path)


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # in use, or gone
