"""Executors' ids: `<host>/<8 hex digits>:<pid>:<start>`, another one for each incarnation of a process.

What stands before the first colon is the place: one state directory on one host. A lock lets at most one executor
live there, so whoever has the lock knows that every other executor of the place is dead.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import psutil


def executor_id(state_dir: Path) -> str:
    """This process's id. A pid alone is used again; with its start time it is not."""
    process = psutil.Process()
    return f"{_place(state_dir)}:{process.pid}:{int(process.create_time() * 1000)}"


def place_of(executor: str) -> str:
    """The place of an executor."""
    return executor.partition(":")[0]


def executor_is_dead(executor: str, place: str) -> bool:
    """True when the executor was a process of this place that is there no more. Other places' are never judged."""
    theirs, _, incarnation = executor.partition(":")
    pid, _, started = incarnation.partition(":")
    if theirs != place or not pid.isdigit() or not started.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        # One that has ended stays in the table until its parent, which may be in no hurry, asks for its status.
        return int(process.create_time() * 1000) != int(started) or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _place(state_dir: Path) -> str:
    machine = Path("/etc/machine-id")
    known = machine.read_text().strip() if machine.is_file() else ""
    digest = hashlib.sha256(f"{known}\n{state_dir.resolve()}".encode()).hexdigest()
    return f"{socket.gethostname()}/{digest[:8]}"
