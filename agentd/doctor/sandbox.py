"""Does the sandbox hold here, and what keeps a run's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from agentd.config import Settings
from agentd.doctor.report import Check
from agentd.errors import ConfigurationError
from agentd.sandbox.limits import Limits, kernel_limits
from agentd.sandbox.probe import probe
from agentd.sandbox.toolchains import find_tool_chains


def checks(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """The sandbox, what keeps its limits, and the tool chains inside."""
    yield _holds(settings)
    yield _limits()
    chains = find_tool_chains(environ.get("PATH", ""), Path.home())
    inside = ", ".join(mount.target for mount in chains.mounts) or "those of /usr alone"
    yield Check(name="sandbox.tool_chains", status="ok", observed=f"inside are {inside}")
    for refused in chains.refused:
        yield Check(name="sandbox.tool_chains", status="warning", observed=refused, remedy="install it elsewhere")


def _holds(settings: Settings) -> Check:
    name = "sandbox.holds"
    if settings.sandbox == "none":
        observed = "sandbox = none: agents and verify commands run as agentd's own user, free to do what it may"
        return Check(name=name, status="warning", observed=observed, remedy="set sandbox = required")
    found = probe()
    if found.holds:
        return Check(name=name, status="ok", observed="it was started, and looked at from inside")
    return Check(name=name, status="failure", observed="; ".join(found.problems), remedy=found.remedy)


def _limits() -> Check:
    name = "sandbox.limits"
    try:
        kernel_limits(Limits())
    except ConfigurationError as error:
        return Check(name=name, status="failure", observed=str(error), remedy="install it")
    processes = "sampled (RLIMIT_NPROC does not hold for root)" if os.getuid() == 0 else "kept by the kernel"
    observed = f"processes {processes}; open files and file size kept by the kernel; memory, CPU and disk sampled"
    return Check(name=name, status="ok", observed=observed)
