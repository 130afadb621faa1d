"""What a contained program may use, and which limit it is over. Sampling; the kernel's own limits stand in prlimit."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agentd.errors import ConfigurationError

NICENESS = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limits:
    """None is no limit. Sampled limits overshoot by what is used between two looks."""

    wall_seconds: float = 3600.0
    silence_seconds: float | None = None
    """without a byte of output"""
    cpu_seconds: float | None = None
    """of all processes that live, together"""
    memory_bytes: int = 4 * 1024**3
    """of all processes together, sampled"""
    processes: int = 512
    """sampled, and for an ordinary user also kept by the kernel (RLIMIT_NPROC does not hold for root)"""
    open_files: int = 4096
    """a process, kept by the kernel"""
    file_bytes: int = 1024**3
    """a file, kept by the kernel"""
    disk_bytes: int = 4 * 1024**3
    """of workspace and home together, beyond what was there, sampled"""
    output_bytes: int = 50 * 1024**2
    """kept; more is read and dropped, for a program that cannot write waits forever"""
    output_end_bytes: int | None = None
    """more than this ends the run"""


@dataclass(frozen=True)
class Sample:
    """One look at everything inside."""

    wall_seconds: float = 0.0
    silent_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    processes: int = 0
    disk_bytes: int = 0
    output_bytes: int = 0


def exceeded(sample: Sample, limits: Limits) -> str | None:
    """The first limit that the sample is over, with both figures; None when all hold."""
    pairs: list[tuple[str, float, float | None, str]] = [
        ("processes", sample.processes, limits.processes, "processes"),
        ("memory", sample.memory_bytes, limits.memory_bytes, "bytes"),
        ("disk", sample.disk_bytes, limits.disk_bytes, "bytes"),
        ("output", sample.output_bytes, limits.output_end_bytes, "bytes"),
        ("cpu", sample.cpu_seconds, limits.cpu_seconds, "seconds"),
        ("wall", sample.wall_seconds, limits.wall_seconds, "seconds"),
        ("silence", sample.silent_seconds, limits.silence_seconds, "seconds"),
    ]
    for name, observed, limit, unit in pairs:
        if limit is not None and observed > limit:
            return f"{name}: {observed:.0f} {unit}, limit {limit:.0f}"
    return None


def kernel_limits(limits: Limits) -> list[str]:
    """The command that stands before the program inside: limits that cannot be set from outside, for they count there.

    It runs with a lower priority too: among the processes of a fork bomb, whoever must end it would wait for seconds.
    Raises ConfigurationError when util-linux's prlimit or coreutils' nice is missing.
    """
    bounds = (
        ("nproc", limits.processes),
        ("nofile", limits.open_files),
        ("fsize", limits.file_bytes),
        ("core", 0),
    )
    limited = [_tool("prlimit", "util-linux"), *(f"--{name}={bound}:{bound}" for name, bound in bounds), "--"]
    return [_tool("nice", "coreutils"), "-n", str(NICENESS), *limited]


def _tool(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin")
    if found is None:
        raise ConfigurationError(f"{name} is missing; install {package}")
    return found


def look_at(init_pid: int, most_processes: int) -> tuple[int, int, float]:
    """Processes, bytes of memory and seconds of CPU of everything but the first process inside.

    Seen through the sandbox's own /proc, which shows nothing else and costs nothing for other processes of the host.
    Memory is private and shared-memory pages, not those of files. Above `most_processes` they are only counted.
    """
    inside = Path(f"/proc/{init_pid}/root/proc")
    try:
        if inside.stat().st_dev == Path("/proc").stat().st_dev:
            return 0, 0, 0.0  # still being made: its root is the host's
        pids = [entry.name for entry in inside.iterdir() if entry.name.isdigit() and entry.name != "1"]
    except OSError:
        return 0, 0, 0.0
    memory, ticks = 0, 0
    for pid in pids if len(pids) <= most_processes else ():
        try:
            status = (inside / pid / "status").read_text()
            times = (inside / pid / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(times[11]) + int(times[12])
        for line in status.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                memory += int(line.split()[1]) * 1024
    return len(pids), memory, ticks / _TICKS


def disk_usage(folders: list[Path]) -> int:
    """Bytes on disk in the folders. Symlinks are not followed; what vanishes meanwhile is not counted."""
    total = 0
    waiting = [os.fspath(folder) for folder in folders]
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


def _deep_disk_usage(folders: list[Path]) -> int:
    """The same by `du`, which walks by descriptors: paths of a tree can be made longer than any call takes."""
    argv = ["du", "-s", "--block-size=1", "--", *map(os.fspath, folders)]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    return sum(int(line.split("\t")[0]) for line in done.stdout.splitlines() if line[:1].isdigit())
