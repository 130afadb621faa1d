"""What a contained program may use. The guardian samples; what the kernel keeps stands in front of the program."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from agentd.errors import ConfigurationError

NICENESS = 10
MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """None is no limit. Sampled limits overshoot by what is used between two looks."""

    cpu_seconds: float | None = None
    """of all processes that live, together; sampled"""
    memory_bytes: int = 4096 * MIB
    """of all processes together; sampled"""
    processes: int = 1024
    """threads too; kept by the kernel: by RLIMIT_NPROC, for root by a pids cgroup; sampled where root can make none"""
    open_files: int = 4096
    """a process; kept by the kernel"""
    file_bytes: int = 4096 * MIB
    """a file; kept by the kernel"""
    disk_bytes: int = 4096 * MIB
    """of workspace and home together, beyond what was there; sampled"""
    output_bytes: int | None = None
    """written, kept or not: more than this ends the run"""

    def sampled(self) -> dict[str, float]:
        """For agentd.sandbox.sampling."""
        named = {
            "processes": self.processes,
            "memory": self.memory_bytes,
            "disk": self.disk_bytes,
            "cpu": self.cpu_seconds,
            "output": self.output_bytes,
        }
        return {name: float(value) for name, value in named.items() if value is not None}


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
