"""Executors' ids: `<host>/<8 hex digits>:<pid>:<birth>`, another one for each incarnation of a process.

What stands before the first colon is the place: one state directory on one host. A lock lets at most one executor
live there, so whoever has the lock knows that every other executor of the place is dead.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

from agentd.births import birth_of


def executor_id(state_dir: Path) -> str:
    """This process's id."""
    return f"{_place(state_dir)}:{os.getpid()}:{birth_of(os.getpid())}"


def place_of(executor: str) -> str:
    """The place of an executor."""
    return executor.partition(":")[0]


def executor_is_dead(executor: str, place: str) -> bool:
    """True when the executor was a process of this place that is there no more. Other places' are never judged."""
    theirs, _, incarnation = executor.partition(":")
    pid, _, born = incarnation.partition(":")
    return theirs == place and pid.isdigit() and birth_of(int(pid)) != born


def _place(state_dir: Path) -> str:
    machine = Path("/etc/machine-id")
    known = machine.read_text().strip() if machine.is_file() else ""
    digest = hashlib.sha256(f"{known}\n{state_dir.resolve()}".encode()).hexdigest()
    return f"{socket.gethostname()}/{digest[:8]}"
