"""What everything inside a sandbox uses, seen from outside. The guardian must start fast: `os` and no more."""

from __future__ import annotations

import errno
import os
import subprocess

_TICKS = os.sysconf("SC_CLK_TCK")

UNITS = {
    "processes": "processes",
    "memory": "bytes of memory",
    "disk": "bytes on disk",
    "cpu": "seconds of CPU",
    "output": "bytes of output",
}


def exceeded(used: dict[str, float], limits: dict[str, float]) -> str:
    """The first limit that is passed, with both figures; empty when all hold."""
    for name, unit in UNITS.items():
        if name in limits and used.get(name, 0) > limits[name]:
            return f"{name}: {used[name]:.0f} {unit}, limit {limits[name]:.0f}"
    return ""


def look_at(init_pid: int, most_processes: float) -> dict[str, float]:
    """Processes, bytes of memory and seconds of CPU of everything but the first process inside, while it lives.

    Seen through the sandbox's own /proc, which shows nothing else and costs nothing for other processes of the host.
    Memory is private and shared-memory pages, not those of files. Above `most_processes` they are only counted.
    """
    inside = f"/proc/{init_pid}/root/proc"
    nothing = {"processes": 0.0, "memory": 0.0, "cpu": 0.0}
    try:
        if os.stat(inside).st_dev == os.stat("/proc").st_dev:
            return nothing  # still being made: its root is the host's
        pids = [name for name in os.listdir(inside) if name.isdigit() and name != "1"]
    except OSError:
        return nothing
    memory, ticks = 0, 0
    for pid in pids if len(pids) <= most_processes else ():
        try:
            status, times = _read(f"{inside}/{pid}/status"), _read(f"{inside}/{pid}/stat").rpartition(b")")[2].split()
        except OSError:
            continue
        ticks += int(times[11]) + int(times[12])
        for line in status.splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:")):
                memory += int(line.split()[1]) * 1024
    return {"processes": float(len(pids)), "memory": float(memory), "cpu": ticks / _TICKS}


def disk_usage(folders: list[str]) -> int:
    """Bytes on disk in the folders. Symlinks are not followed; what vanishes meanwhile is not counted."""
    total = 0
    waiting = list(folders)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return _deep_disk_usage(folders)
    return total


def _deep_disk_usage(folders: list[str]) -> int:
    """The same by `du`, which walks by descriptors: paths of a tree can be made longer than any call takes."""
    argv = ["du", "-s", "--block-size=1", "--", *folders]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    return sum(int(line.split("\t")[0]) for line in done.stdout.splitlines() if line[:1].isdigit())


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
