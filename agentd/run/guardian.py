"""The guardian: runs one program and ends its whole process tree when its time, its lease or its worker is over.

A program of its own, with the standard library alone: `python -I guardian.py SPEC.json`. It is a child subreaper,
so that children which leave the process group or their session still end up below it. Standard input is the
worker's end of the line: a closed line means that the worker is dead. Commands on it, one a line:
`deadline SECONDS` (boot time at which the lease ends), `progress` (the worker saw a sign of life that is no output)
and `stop GRACE_SECONDS`. It inherits the run's lock and keeps it to its end, so that a free lock proves that the
tree is gone.

It ends 0 after writing the result file, which is written by renaming and so is there whole or not at all.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
BEAT_SECONDS = 0.5
GROUP_SECONDS = 0.1
"""How long a killed group may take to disappear before /proc is searched, which is dear where many runs end at once."""
CHUNK = 1 << 16
CONCLUSIVE = ("exited", "timeout", "lifeless", "silent", "not_started")
"""Ends whose result must outlive a power cut; after the others the program runs again in any case."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)


def now() -> float:
    """Seconds since boot, counting suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guardian:
    """State of the one program that is guarded."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.began = now()
        self.limit_at = self.began + float(spec["limit_seconds"])
        self.lease_at = float(spec["lease_deadline"])
        self.lives = False
        self.sign_at = time.monotonic()
        self.ended = ""
        self.grace = float(spec["grace_seconds"])
        self.kept = 0
        self.dropped = 0
        self.commands = b""
        self.selector = selectors.DefaultSelector()
        self.log = open(spec["log_path"], "ab", buffering=0)  # noqa: PTH123, SIM115  # kept open, no pathlib here
        self.out = open(spec["out_path"], "wb", buffering=0)  # noqa: PTH123, SIM115
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program with its own session, dying with the guardian, its output on pipes."""
        stdin = open(self.spec["stdin_path"], "rb") if self.spec["stdin_path"] else subprocess.DEVNULL  # noqa: PTH123, SIM115
        self.child = subprocess.Popen(
            self.spec["argv"],
            cwd=self.spec["cwd"],
            env=self.spec["env"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_prepare_child,
        )
        for stream, keep in ((self.child.stdout, True), (self.child.stderr, False)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ, keep)
        self.selector.register(0, selectors.EVENT_READ, None)

    def watch(self) -> None:
        """Pump output until the program has ended or must end."""
        assert self.child is not None
        child_end = os.pidfd_open(self.child.pid)
        self.selector.register(child_end, selectors.EVENT_READ, "exit")
        while not self.ended:
            wait = max(0.0, min(BEAT_SECONDS, self.limit_at - now(), self.lease_at - now(), self.patience()))
            for key, _ in self.selector.select(wait):
                if key.data == "exit":
                    self.ended = self.ended or "exited"
                elif key.fd == 0:
                    self.command()
                else:
                    self.pump(key)
            if not self.ended and now() >= self.lease_at:
                # First: after a suspend all limits have passed, and that is no fault of the program.
                self.ended, self.grace = "lease_lost", 0.0
            if not self.ended and now() >= self.limit_at:
                self.ended = "timeout"
            if not self.ended and self.patience() <= 0:
                self.ended = "silent" if self.lives else "lifeless"
        self.selector.unregister(child_end)
        os.close(child_end)

    def sign(self) -> None:
        """The program has shown that it gets on."""
        self.lives, self.sign_at = True, time.monotonic()

    def patience(self) -> float:
        """Seconds for which the program may still show nothing; a suspended machine's sleep does not count."""
        seconds = float(self.spec["silence_seconds" if self.lives else "startup_seconds"])
        return self.sign_at + seconds - time.monotonic() if seconds > 0 else float("inf")

    def command(self) -> None:
        """One read from the worker's line; a closed line means that there is no worker any more."""
        received = os.read(0, CHUNK)
        if not received:
            self.selector.unregister(0)
            self.ended, self.grace = self.ended or "orphaned", min(self.grace, 0.2)
            return
        self.commands += received
        *lines, self.commands = self.commands.split(b"\n")
        for line in lines:
            word, _, value = line.decode().partition(" ")
            if word == "deadline":
                self.lease_at = float(value)
            elif word == "progress":
                self.sign()
            elif word == "stop":
                self.ended, self.grace = self.ended or "stopped", float(value)

    def pump(self, key: selectors.SelectorKey) -> None:
        """Keep what fits, drop the rest, never stop reading: a full pipe would stop the program."""
        stream: Any = key.fileobj
        try:
            received = os.read(stream.fileno(), CHUNK)
        except BlockingIOError:
            return
        if not received:
            self.selector.unregister(stream)
            stream.close()
            return
        self.sign()
        room = max(0, int(self.spec["max_output_bytes"]) - self.kept)
        part = received[:room]
        self.kept += len(part)
        self.dropped += len(received) - len(part)
        try:
            self.log.write(part)
            if key.data:
                self.out.write(part)
        except OSError:
            self.dropped += len(part)

    def drain(self) -> None:
        """What is still in the pipes after everything has ended."""
        for key in [key for key in self.selector.get_map().values() if key.fd != 0 and key.data != "exit"]:
            while key.fileobj in [entry.fileobj for entry in self.selector.get_map().values()]:
                before = self.kept + self.dropped
                self.pump(key)
                if self.kept + self.dropped == before:
                    break

    def sweep(self) -> int:
        """End every process below the guardian: ask, wait, kill until none is left. How many had to be killed."""
        assert self.child is not None
        if self.grace > 0 and self.ended != "exited":
            for pid in descendants():
                _signal(pid, signal.SIGTERM)
            give_up = now() + self.grace
            while self.reap() and now() < give_up:
                self.pump_some(0.02)
        killed: set[int] = set()
        if self.reap():
            # The plain case needs no search of /proc: one group, all of it gone at once.
            _signal_group(self.child.pid, signal.SIGKILL)
            if self.child.returncode is None:
                killed.add(self.child.pid)
            give_up = now() + GROUP_SECONDS
            while self.reap() and now() < give_up:
                self.pump_some(0.01)
        while self.reap():
            for pid in descendants():
                _signal(pid, signal.SIGKILL)
                killed.add(pid)
            self.pump_some(0.005)
        return len(killed)

    def reap(self) -> bool:
        """Collect what has ended; False when nothing is left: every living descendant hangs on a child of ours."""
        assert self.child is not None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child.pid:
                self.child.returncode = os.waitstatus_to_exitcode(status)

    def pump_some(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            if key.fd == 0:
                self.command()
            elif key.data != "exit":
                self.pump(key)


def _prepare_child() -> None:
    """In the child, before the program: it dies with the guardian, and asking it to end works again."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def descendants() -> list[int]:
    """Living processes below this one, children of children included."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:  # noqa: PTH123
                    state, parent = stat.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def main() -> int:
    """Guard the program of the spec file; see the module's documentation."""
    with open(sys.argv[1]) as file:  # noqa: PTH123
        spec = json.load(file)
    # It holds the environment of the program, keys of the model included.
    os.unlink(sys.argv[1])  # noqa: PTH108
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian = Guardian(spec)
    result: dict[str, Any] = {}
    try:
        guardian.start()
        guardian.watch()
        killed = guardian.sweep()
        guardian.drain()
        assert guardian.child is not None
        result = {"exit_status": guardian.child.returncode, "killed": killed}
    except OSError as error:
        guardian.ended, result = "not_started", {"exit_status": 127, "killed": 0, "message": str(error)}
    result |= {
        "ended": guardian.ended,
        "seconds": round(now() - guardian.began, 3),
        "output_bytes": guardian.kept,
        "dropped_bytes": guardian.dropped,
    }
    temporary = f"{spec['result_path']}.new"
    with open(temporary, "w") as file:  # noqa: PTH123
        json.dump(result, file)
        if guardian.ended in CONCLUSIVE:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, spec["result_path"])  # noqa: PTH104
    return 0


if __name__ == "__main__":
    os._exit(main())  # nothing is left to tidy up, and hundreds may end at once
