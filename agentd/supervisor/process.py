"""The supervisor as a process: the lock that makes it the only one on its state directory, and finding it again."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentd.births import birth_of
from agentd.errors import ConfigurationError

PID_FILE = "supervisor.pid"
DRAINS = "drains"
"""Third word of that file, after the number and the birth, from the signal to stop on."""
NUDGE = signal.SIGUSR1
"""Signal that makes a supervisor look at GitHub at once."""

MOST_FILES = 65_536
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOBODY_READS = (errno.EPIPE, errno.EIO)
"""A pipe whose reader has gone, and a terminal that was closed."""


@dataclass(frozen=True)
class Supervisor:
    """A living supervisor."""

    pid: int
    born: str
    """see agentd.births"""
    drains: bool = field(default=False, compare=False)
    """told to stop: it starts nothing more, and ends after its runs"""

    def is_executor(self, executor: str) -> bool:
        """Whether an executor's id (agentd.run.executor) is this process's, which tells more than its heartbeat."""
        return executor.endswith(f":{self.pid}:{self.born}")

    def __str__(self) -> str:
        return f"process {self.pid}{', which drains: it starts nothing more' if self.drains else ''}"


def running(state_dir: Path) -> Supervisor | None:
    """The living supervisor of a state directory. A number that another process has by now does not count."""
    try:
        pid, born, *more = (state_dir / PID_FILE).read_text().split()
        if birth_of(int(pid)) != born:
            return None
    except (OSError, ValueError):
        return None
    return Supervisor(int(pid), born, DRAINS in more)


def tell_draining(state_dir: Path) -> None:
    """Let `running` say that this process, which is the supervisor, drains. Raises OSError."""
    pid_file = state_dir / PID_FILE
    changed = pid_file.with_suffix(".new")
    changed.write_text(f"{pid_file.read_text().rstrip()} {DRAINS}\n")
    changed.replace(pid_file)  # who reads it meanwhile must find a supervisor


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Be the only supervisor of the state directory. Raises ConfigurationError naming the one that lives."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state_dir / "supervisor.lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"{state_dir}: the state directory cannot be used: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = running(state_dir)
            who = str(other or "another process")
            raise ConfigurationError(
                f"a supervisor is running already ({who}); `agentd status` shows it, `agentd stop` ends it"
            ) from None
        signal.signal(NUDGE, lambda *_: None)  # until it can obey; a process without a handler would end
        pid_file = state_dir / PID_FILE
        pid_file.write_text(f"{os.getpid()} {birth_of(os.getpid())}\n")
        try:
            yield
        finally:
            pid_file.unlink(missing_ok=True)


def make_log_dir(log_dir: Path) -> None:
    """Raises ConfigurationError where there cannot be such a folder."""
    try:
        log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"{log_dir}: the log directory cannot be used: {error.strerror}") from None


class _Losing(io.FileIO):
    """A file that drops what its disk has no room for, and what nobody reads any more."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in NO_ROOM + NOBODY_READS:
                raise
            return len(data)


def outlive_log() -> None:
    """Let this process lose words, and not end with its runs, when the log that it writes to takes no more of them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        raw = io.BufferedWriter(_Losing(stream.fileno(), "w", closefd=False))
        losing = io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
        setattr(sys, name, losing)


def lift_file_limit() -> None:
    """Let this process open as many files as it may: a shell gives 1,024, and each run needs several (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
