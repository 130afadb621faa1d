"""Many agents that do nothing: what they cost the supervisor, and how soon they are gone when it is told to stop."""

from __future__ import annotations

import os
import selectors
import signal
import time
from pathlib import Path

import psutil

from benchmarks.rows import Row
from benchmarks.site import WAIT_SECONDS, cpu_percent, memory_mb, site, wait_for

MARK = b"AGENTD_RUN_ID="
SETTLE_SECONDS = 3.0
MEASURED_SECONDS = 15.0


def sleeping(agents: int) -> list[Row]:
    """So many runs whose agent sleeps, then `stop --now`."""
    with site() as place:
        place.configure(f"max_parallel = {agents}", "poll_interval_seconds = 60", agent="touch asleep; exec sleep 600")
        for number in range(agents):
            place.issue(f"Number {number}")
        with place.supervisor() as supervisor:
            trees = place.folder / "worktrees"
            wait_for(lambda: sum(1 for _ in trees.glob("*/*/issue-*/**/asleep")) == agents, 0.5)
            time.sleep(SETTLE_SECONDS)
            percent = cpu_percent(supervisor, MEASURED_SECONDS)
            memory = memory_mb(supervisor)
            processes = _processes(place.folder)
            # As `agentd stop --now` does, without the time that a Python takes to start.
            supervisor.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            began = time.monotonic()
            supervisor.send_signal(signal.SIGTERM)
            _ended(processes)
            gone = time.monotonic() - began
        beside = f"{agents} agents, {len(processes)} processes"
        return [
            Row("sleeping agents cpu", percent, "% core", 15, beside),
            Row("sleeping agents memory", memory, "MB", 400, beside),
            Row("sleeping agents gone", gone, "s", 1, f"{beside}, after stop --now"),
        ]


def _ended(descriptors: list[int]) -> None:
    """Wait until every process has ended; a pid descriptor becomes readable then. Raises TimeoutError."""
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ended = selector.select(WAIT_SECONDS)
            if not ended:
                raise TimeoutError(f"{len(selector.get_map())} processes did not end within {WAIT_SECONDS:g} s")
            for key, _ in ended:
                selector.unregister(key.fd)
                os.close(key.fd)


def _processes(home: Path) -> list[int]:
    """Descriptors of this installation's agents and their guardians."""
    found = []
    for pid in psutil.pids():
        try:
            agent = Path(f"/proc/{pid}/environ").read_bytes()
            guardian = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        ours = os.fsencode(home)
        if (MARK in agent and ours in agent) or (b"guardian.py" in guardian and ours in guardian):
            found.append(os.pidfd_open(pid))
    return found
