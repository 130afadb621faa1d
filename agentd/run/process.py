"""Starting a program under the guardian and waiting for it, without a thread a program."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from agentd.errors import AgentdError
from agentd.run.progress import Watch

GUARDIAN = Path(__file__).with_name("guardian.py")
RUN_VARIABLE = "AGENTD_RUN_ID"
"""Set in every process of a run, so that one which got away can be found."""
BEAT_SECONDS = 1.0
LOCK = "guardian.lock"
FIRST_FREE_DESCRIPTOR = 200
"""Below it the guardian gives bubblewrap its descriptors (agentd.sandbox.launch)."""
End = Literal["exited", "timeout", "lifeless", "silent", "limit", "lease_lost", "orphaned", "stopped", "not_started"]
NO_SANDBOX = "the sandbox could not be made"
"""How the guardian's message begins when bubblewrap failed."""
LOOKS_PER_LIMIT = 4
"""How often watched folders are looked at in the time for which a program may show nothing."""


@dataclass(frozen=True)
class Program:
    """What to run, for how long, and where its output goes."""

    name: str
    """`agent-0`, `verify-1`: names the files of this execution"""
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    limit_seconds: float
    max_output_bytes: int
    stdin: bytes | None = None
    grace_seconds: float = 5.0
    startup_seconds: float = 0.0
    """how long it may show no sign of life at all after its start; 0 is for ever"""
    silence_seconds: float = 0.0
    """how long it may show none later on; 0 is for ever"""
    watched: tuple[Path, ...] = ()
    """folders in which a change is a sign of life, as output is"""
    inputs: Mapping[int, Path] = field(default_factory=dict)
    """files that bubblewrap reads by these descriptors; empty for a program on the host"""
    limits: Mapping[str, float] = field(default_factory=dict)
    """see agentd.sandbox.limits; only of a program in a sandbox are samples taken"""
    folders: tuple[Path, ...] = ()
    """whose growth counts as disk use"""
    secrets: tuple[str, ...] = ()
    """values that are taken out of the output"""


@dataclass(frozen=True)
class Ended:
    """How a program ended. Read from the guardian's result file."""

    ended: End
    exit_status: int
    seconds: float
    output_bytes: int
    dropped_bytes: int
    killed: int = 0
    message: str = ""
    """why it could not be started, or which limit it passed"""
    end_seconds: float = 0.0
    """from the decision that it has ended, or must, until nothing of it was left"""


class GuardianDied(AgentdError):
    """The guardian ended without a result: it was killed."""


def result_of(run_dir: Path, name: str) -> Ended | None:
    """The result that an earlier execution left, or None. Half-written results do not exist."""
    path = run_dir / f"{name}.result.json"
    return Ended(**json.loads(path.read_text())) if path.is_file() else None


def was_started(run_dir: Path, name: str) -> bool:
    """True when some incarnation of the run started the program before."""
    return (run_dir / f"{name}.started").exists()


def output_of(run_dir: Path, name: str) -> Path:
    """Standard output of a program, as far as it was kept."""
    return run_dir / f"{name}.out"


async def guard(
    program: Program,
    run_dir: Path,
    log_path: Path,
    lease_deadline: Callable[[], float],
    stop_requested: Callable[[], float | None],
    hurry: asyncio.Event | None = None,
) -> Ended:
    """Run the program to its end and return it; every process it started is gone by then.

    `lease_deadline` is asked each second for the boot time at which the lease ends. `stop_requested` gives the
    grace in seconds when the program must stop, else None; it is asked as often, and at once when `hurry` is set.
    A cancelled caller stops the program at once and waits.
    """
    guardian = await asyncio.to_thread(_spawn, program, run_dir, log_path, lease_deadline())
    assert guardian.stdin is not None
    try:
        exited = asyncio.ensure_future(_exit_of(guardian.pid))
        hurried = asyncio.ensure_future((hurry or asyncio.Event()).wait())
        watching = asyncio.ensure_future(_watch(program, log_path, lambda: _tell(guardian, "progress")))
        stopping = False
        try:
            while not exited.done():
                waited = {exited} if hurried.done() else {exited, hurried}
                await asyncio.wait(waited, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                grace = stop_requested()
                if grace is not None and not stopping:
                    stopping = _tell(guardian, f"stop {grace}")
                _tell(guardian, f"deadline {lease_deadline()}")
        except asyncio.CancelledError:
            _tell(guardian, "stop 0")
            await asyncio.shield(exited)
            raise
        finally:
            hurried.cancel()
            watching.cancel()
    finally:
        guardian.stdin.close()
        await asyncio.to_thread(guardian.wait)
    ended = result_of(run_dir, program.name)
    if ended is None:
        await asyncio.to_thread(sweep, run_dir.name)
        raise GuardianDied(f"{program.name}: its guardian ended with {guardian.returncode} and left no result")
    return ended


def sweep(run_id: str) -> int:
    """Kill processes of a run that got away because even their guardian was killed; how many there were.

    They are known by a variable in their environment; only processes of the same user can be seen.
    """
    mark = f"{RUN_VARIABLE}={run_id}".encode()
    found = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                found += 1
        except OSError:
            continue
    return found


def tree_is_gone(run_dir: Path) -> bool:
    """True when no guardian of this run lives: it ends only after its whole process tree."""
    lock = run_dir / LOCK
    if not lock.exists():
        return True
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def _watch(program: Program, log_path: Path, progress: Callable[[], object]) -> None:
    """Report changes in the watched folders until cancelled; they are not looked at while there is output."""
    limits = [seconds for seconds in (program.startup_seconds, program.silence_seconds) if seconds > 0]
    if not limits or not program.watched:
        return
    watch, logged = Watch(program.watched), -1
    while True:
        await asyncio.sleep(min(limits) / LOOKS_PER_LIMIT)
        said, logged = logged, log_path.stat().st_size if log_path.exists() else 0
        if logged == said and await asyncio.to_thread(watch.changed):
            progress()


def _spawn(program: Program, run_dir: Path, log_path: Path, lease_deadline: float) -> subprocess.Popen[bytes]:
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    stdin_path = run_dir / f"{program.name}.stdin"
    if program.stdin is not None:
        stdin_path.write_bytes(program.stdin)
    values = {item.name: getattr(program, item.name) for item in fields(program)} | {
        "cwd": str(program.cwd),
        "env": {**program.env, RUN_VARIABLE: run_dir.name},
        "stdin": None,
        "watched": [],
        "folders": [str(folder) for folder in program.folders],
        "inputs": {number: str(path) for number, path in program.inputs.items()},
        "stdin_path": str(stdin_path) if program.stdin is not None else "",
        "lease_deadline": lease_deadline,
        "log_path": str(log_path),
        "out_path": str(output_of(run_dir, program.name)),
        "result_path": str(run_dir / f"{program.name}.result.json"),
    }
    (run_dir / f"{program.name}.started").touch()
    spec = run_dir / f"{program.name}.spec.json"
    spec.touch(mode=0o600)
    spec.write_text(json.dumps(values))
    # Locked here and inherited: there is no moment in which a guardian is on its way and the lock is free.
    with (run_dir / LOCK).open("w") as lock, log_path.open("ab") as log, _high(lock.fileno()) as inherited:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GuardianDied(f"{program.name}: an earlier program of this run is not gone yet") from None
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARDIAN), str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            pass_fds=(inherited,),
        )


@contextmanager
def _high(descriptor: int) -> Iterator[int]:
    """The same open file under a number that the guardian does not use for anything else."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)
    try:
        yield copy
    finally:
        os.close(copy)


def _tell(guardian: subprocess.Popen[bytes], line: str) -> bool:
    assert guardian.stdin is not None
    try:
        os.write(guardian.stdin.fileno(), f"{line}\n".encode())
    except BrokenPipeError:
        pass  # it has ended already, which the caller sees by its exit
    return True


async def _exit_of(pid: int) -> None:
    """Wait for a process through its pid descriptor: no thread and no signal handler."""
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
