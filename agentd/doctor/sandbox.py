"""Does the sandbox hold here, and what keeps a run's limits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError
from agentd.sandbox.limits import Limits, kernel_limits
from agentd.sandbox.pids import pids_group
from agentd.sandbox.probe import probe
from agentd.sandbox.toolchains import find_tool_chains

HOLDS = Code(
    "sandbox.holds",
    "Sandbox",
    "the sandbox cannot be made on this host, or does not hold; or it is switched off",
    "as the message says; `bwrap --unshare-user --ro-bind / / true` shows what the host refuses",
)
LIMITS = Code(
    "sandbox.limits", "Sandbox limits", "a program that keeps limits is not there", "install util-linux (`prlimit`)"
)
TOOL_CHAINS = Code(
    "sandbox.tool_chains",
    "Tool chains",
    "a tool chain on PATH lies where it cannot be shown inside without showing more",
    "install it elsewhere",
)
CODES = (HOLDS, LIMITS, TOOL_CHAINS)


def checks(visit: Visit) -> Iterator[Finding]:
    """The sandbox, what keeps its limits, and the tool chains inside."""
    yield _holds(visit)
    yield _limits()
    chains = find_tool_chains(visit.environ.get("PATH", ""), Path.home())
    inside = ", ".join(mount.target for mount in chains.mounts) or "those of /usr alone"
    yield TOOL_CHAINS.ok(f"inside are {inside}")
    for refused in chains.refused:
        yield TOOL_CHAINS.warn(refused, "export PATH=/usr/local/bin:/usr/bin:/bin", subject=refused)


def _holds(visit: Visit) -> Finding:
    if visit.settings.sandbox == "none":
        said = "sandbox = none: agents and verify commands run as agentd's own user, free to do what it may"
        return HOLDS.warn(said, "export AGENTD_SANDBOX=required", subject="none")
    found = probe()
    if found.holds:
        return HOLDS.ok("it was started, and looked at from inside")
    setting = re.search(r"set ([\w.]+)(?:=| to )(\d+)", found.remedy)
    command = f"sudo sysctl -w {setting[1]}={setting[2]}" if setting else "bwrap --unshare-user --ro-bind / / true"
    return HOLDS.fail("; ".join([*found.problems, *filter(None, [found.remedy])]), command)


def _limits() -> Finding:
    try:
        kernel_limits(Limits())
    except ConfigurationError as error:
        return LIMITS.fail(str(error), "sudo apt-get install util-linux")
    sampled = "memory, CPU and disk sampled"
    if os.geteuid() == 0:
        group = pids_group(1)
        if group is None:
            return LIMITS.ok(
                f"open files and file size kept by the kernel; processes (root has no pids cgroup), {sampled}"
            )
        group.remove()
    return LIMITS.ok(f"processes, open files and file size kept by the kernel; {sampled}")
