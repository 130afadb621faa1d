"""The processes below this one: adopted, found, ended. The guardian must start fast: few imports."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """From now on processes below this one, whose parent ends, become its children (prctl(2), a child subreaper)."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Called in a child: the kernel kills it when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants() -> list[int]:
    """Living processes below this one, children of children included."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    state, parent = stat.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def signal_process(pid: int, number: int) -> None:
    """Nothing when it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def signal_group(group: int, number: int) -> None:
    """Nothing when it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)
