"""What everything inside a sandbox uses, seen from outside. The guardian must start fast: few imports."""

from __future__ import annotations

import os
import time

from agentd.sandbox.disk_scan import DiskScan

LOOK_SECONDS = 0.25
"""Between two looks at what a sandbox uses."""
SCAN_SECONDS = 0.01
"""How long a look counts what is on the disk; then it goes on at the next look."""
MIN_FREE_BYTES = 256 << 20
"""A program in a sandbox is ended when less is left on the disk of its workspace, whoever took it."""
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
    """Processes with their threads, bytes of memory and seconds of CPU of everything but the first process inside.

    Seen through the sandbox's own /proc, which shows nothing else and costs nothing for other processes of the host.
    Memory is private, swapped and mapped shared pages, not those of files. Above `most_processes` nothing but their
    number is looked at.
    """
    inside = f"/proc/{init_pid}/root/proc"
    nothing = {"processes": 0.0, "memory": 0.0, "cpu": 0.0}
    try:
        if os.stat(inside).st_dev == os.stat("/proc").st_dev:
            return nothing  # still being made: its root is the host's
        pids = [name for name in os.listdir(inside) if name.isdigit() and name != "1"]
    except OSError:
        return nothing
    memory, ticks, threads = 0, 0, 0
    for pid in pids if len(pids) <= most_processes else ():
        try:
            status, times = _read(f"{inside}/{pid}/status"), _read(f"{inside}/{pid}/stat").rpartition(b")")[2].split()
        except OSError:
            continue
        ticks += int(times[11]) + int(times[12])
        threads += int(times[17])
        for line in status.splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:", b"VmSwap:")):
                memory += int(line.split()[1]) * 1024
    return {"processes": float(max(len(pids), threads)), "memory": float(memory), "cpu": ticks / _TICKS}


class Samples:
    """What one program uses, sampled from time to time."""

    def __init__(self, limits: dict[str, float], folders: list[str]) -> None:
        self.limits = limits
        self.folders = folders
        """where it may write"""
        self.used: dict[str, float] = {}
        self._scan = DiskScan(folders)
        self._disk_before: int | None = None
        self._next = time.monotonic()

    def due_in(self) -> float:
        """Seconds until the next sample."""
        return max(0.0, self._next - time.monotonic())

    def take(self, init_pid: int, output_bytes: int) -> str:
        """The limit that is passed, if any. Inside is looked at when it is time, and there is an `init_pid`."""
        self.used["output"] = output_bytes
        if init_pid and self.due_in() <= 0:
            self.used |= look_at(init_pid, self.limits.get("processes", 0))
            disk = self._scan.advance(SCAN_SECONDS) if "disk" in self.limits else None
            if disk is not None:
                self._disk_before = disk if self._disk_before is None else self._disk_before
                self.used["disk"] = disk - self._disk_before
            self._next = time.monotonic() + LOOK_SECONDS
            if self.folders and (free := free_bytes(self.folders[0])) < MIN_FREE_BYTES:
                return f"disk: {free} bytes are left on the host's disk, {MIN_FREE_BYTES} must be"
        return exceeded(self.used, self.limits)


def free_bytes(folder: str) -> int:
    """What is left for ordinary users on the disk of a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
