"""The guardian: runs one program and ends its whole process tree when its time, its lease or its worker is over.

A program of its own, which starts fast: `python -I -S guardian.py SPEC.json`, the standard library and modules of
agentd that need nothing else. It is a child subreaper, so that children which leave the process group or their
session still end up below it. Of a program in a sandbox it takes samples, and ends what uses too much. Secrets are
taken out of the output before it is kept. Standard input is the
worker's end of the line: a closed line means that the worker is dead. Commands on it, one a line:
`deadline SECONDS` (boot time at which the lease ends), `progress` (the worker saw a sign of life that is no output)
and `stop GRACE_SECONDS`. It inherits the run's lock and keeps it to its end, so that a free lock proves that the
tree is gone.

It ends 0 after writing the result file, which is written by renaming and so is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from agentd.run.descendants import adopt_orphans, descendants, die_with_parent, signal_group, signal_process
from agentd.run.kept_output import CHUNK, KeptOutput
from agentd.sandbox.pids import PidsGroup, pids_group
from agentd.sandbox.sampling import Samples

BEAT_SECONDS = 0.5
GROUP_SECONDS, SANDBOX_SECONDS = 0.1, 5.0
"""How long a killed group, or a sandbox whose first process was killed, may take to disappear before /proc is searched:
that is dear where many runs end at once, and the kernel ends everything in a sandbox by itself."""
STATUS_FD = 102
"""Where bubblewrap is told to report (agentd.sandbox.launch): the first process, and the exit code if there was one."""
CONCLUSIVE = ("exited", "timeout", "lifeless", "silent", "limit", "not_started")
"""Ends whose result must outlive a power cut; after the others the program runs again in any case."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        self.reason = ""
        self.grace = float(spec["grace_seconds"])
        self.commands = b""
        self.limits: dict[str, float] = spec["limits"]
        self.samples = Samples(self.limits, spec["folders"])
        self.init_pid = 0
        self.init_end = -1
        """pid descriptor of the first process inside: its number may become another's"""
        self.report = b""
        self.selector = selectors.DefaultSelector()
        most_bytes = int(spec["max_output_bytes"])
        self.output = KeptOutput(spec["log_path"], spec["out_path"], spec["secrets"], most_bytes)
        self.child: subprocess.Popen[bytes] | None = None
        self.group: PidsGroup | None = None

    def start(self) -> None:
        """Start the program with its own session, dying with the guardian, its output on pipes."""
        stdin = open(self.spec["stdin_path"], "rb") if self.spec["stdin_path"] else subprocess.DEVNULL  # noqa: SIM115
        inputs = {int(number): path for number, path in self.spec["inputs"].items()}
        for number, path in inputs.items():
            _move(os.open(path, os.O_RDONLY), number)
        if inputs:
            report, theirs = os.pipe()
            _move(theirs, STATUS_FD)
            os.set_blocking(report, False)
            self.selector.register(report, selectors.EVENT_READ, "report")
            self.group = pids_group(int(self.limits["processes"])) if "processes" in self.limits else None
        passed = (*inputs, STATUS_FD) if inputs else ()
        try:
            self.child = subprocess.Popen(
                self.spec["argv"],
                cwd=self.spec["cwd"],
                env=self.spec["env"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=self.prepare_child,
                pass_fds=passed,
            )
        finally:
            for number in passed:
                os.close(number)
        for stream, keep in ((self.child.stdout, True), (self.child.stderr, False)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ, keep)
        self.selector.register(0, selectors.EVENT_READ, None)

    def prepare_child(self) -> None:
        """In the child, before the program: it dies with the guardian, asking it to end works again, and it counts."""
        die_with_parent()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self.group is not None:
            self.group.enter()

    def watch(self) -> None:
        """Pump output until the program has ended or must end."""
        assert self.child is not None
        child_end = os.pidfd_open(self.child.pid)
        self.selector.register(child_end, selectors.EVENT_READ, "exit")
        while not self.ended:
            wait = max(0.0, min(self.pause(), self.limit_at - now(), self.lease_at - now(), self.patience()))
            for key, _ in self.selector.select(wait):
                if key.data == "exit":
                    self.ended = self.ended or "exited"
                elif key.data == "report":
                    self.hear(key)
                elif key.fd == 0:
                    self.command()
                else:
                    self.pump(key)
            if not self.ended and (reason := self.samples.take(self.init_pid, self.output.written)):
                self.ended, self.reason = "limit", reason
            if not self.ended and now() >= self.lease_at:
                # First: after a suspend all limits have passed, and that is no fault of the program.
                self.ended, self.grace = "lease_lost", 0.0
            if not self.ended and now() >= self.limit_at:
                self.ended = "timeout"
            if not self.ended and self.patience() <= 0:
                self.ended = "silent" if self.lives else "lifeless"
        self.selector.unregister(child_end)
        os.close(child_end)

    def pause(self) -> float:
        """How long to sleep at most: until the next look inside, where there is an inside."""
        return self.samples.due_in() if self.init_pid else BEAT_SECONDS

    def hear(self, key: selectors.SelectorKey) -> None:
        """What bubblewrap reports: a JSON object a line."""
        received = os.read(key.fd, CHUNK)
        if not received:
            self.selector.unregister(key.fd)
            os.close(key.fd)
            return
        self.report += received
        if not self.init_pid and b"\n" in self.report:
            self.init_pid = int(json.loads(self.report.split(b"\n")[0]).get("child-pid", 0))
            with suppress(ProcessLookupError):
                self.init_end = os.pidfd_open(self.init_pid)

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
        there = self.output.read(stream, key.data)
        if there is None:
            self.selector.unregister(stream)
            stream.close()
        elif there:
            self.sign()

    def drain(self) -> None:
        """What is still in the pipes after everything has ended."""
        for key in [key for key in self.selector.get_map().values() if isinstance(key.data, bool)]:
            while key.fileobj in [entry.fileobj for entry in self.selector.get_map().values()]:
                before = self.output.written
                self.pump(key)
                if self.output.written == before:
                    break
            # Somebody else may hold the pipe still, so there is no end of it to be read.
            self.output.flush(key.data)

    def sweep(self) -> int:
        """End every process below the guardian: ask, wait, kill until none is left. How many had to be killed."""
        assert self.child is not None
        if self.grace > 0 and self.ended != "exited":
            for pid in descendants():
                # bubblewrap itself ends at once, and everything inside with it: nobody could say goodbye.
                if pid != self.child.pid or not self.spec["inputs"]:
                    signal_process(pid, signal.SIGTERM)
            give_up = now() + self.grace
            while self.reap() and now() < give_up:
                self.pump_some(0.02)
        killed: set[int] = set()
        if self.reap():
            # The plain case needs no search of /proc: one group, all of it gone at once.
            signal_group(self.child.pid, signal.SIGKILL)
            if self.init_end >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.init_end, signal.SIGKILL)
            if self.child.returncode is None:
                killed.add(self.child.pid)
            self.wait(SANDBOX_SECONDS if self.init_end >= 0 else GROUP_SECONDS)
        while self.reap():
            found = set(descendants())
            for pid in found:
                signal_process(pid, signal.SIGKILL)
            # Who was killed before and is still there waits for a disk, or for its turn.
            self.wait(GROUP_SECONDS if found <= killed else 0.005)
            killed |= found
        return len(killed)

    def wait(self, seconds: float) -> None:
        """Until nothing is left, but for so long at most; ever less often, for others need the processors too."""
        pause, give_up = 0.005, now() + seconds
        while self.reap() and now() < give_up:
            self.pump_some(pause)
            pause = min(pause * 1.5, 0.1)

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
            elif key.data == "report":
                self.hear(key)
            elif key.data != "exit":
                self.pump(key)

    def failure(self) -> str:
        """bubblewrap's last words when it never started the program, else an empty string."""
        for key in [key for key in self.selector.get_map().values() if key.data == "report"]:
            self.hear(key)
        if not self.spec["inputs"] or self.ended != "exited" or b"exit-code" in self.report:
            return ""
        with open(self.spec["log_path"], "rb") as log:
            return log.read()[-2000:].decode(errors="replace").strip() or "bubblewrap said nothing"


def _move(descriptor: int, number: int) -> None:
    """Give an open file another number, under which a child finds it."""
    os.dup2(descriptor, number)
    os.close(descriptor)


def main() -> int:
    """Guard the program of the spec file; see the module's documentation."""
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    # It holds the environment of the program, keys of the model included.
    os.unlink(sys.argv[1])
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    adopt_orphans()
    guardian = Guardian(spec)
    result: dict[str, Any] = {}
    try:
        guardian.start()
        guardian.watch()
        decided = now()
        killed = guardian.sweep()
        swept = round(now() - decided, 3)
        guardian.drain()
        assert guardian.child is not None
        result = {"exit_status": guardian.child.returncode, "killed": killed, "message": guardian.reason}
        result["end_seconds"] = swept
        if said := guardian.failure():
            guardian.ended, result["message"] = "not_started", f"the sandbox could not be made: {said}"
    except OSError as error:
        guardian.ended, result = "not_started", {"exit_status": 127, "killed": 0, "message": str(error)}
        if guardian.child is not None:
            guardian.grace = 0.0
            result["killed"] = guardian.sweep()
    result |= {
        "ended": guardian.ended,
        "seconds": round(now() - guardian.began, 3),
        "output_bytes": guardian.output.kept,
        "dropped_bytes": guardian.output.dropped,
    }
    if guardian.group is not None:
        guardian.group.remove()
    temporary = f"{spec['result_path']}.new"
    with open(temporary, "w") as file:
        json.dump(result, file)
        if guardian.ended in CONCLUSIVE:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, spec["result_path"])
    return 0


if __name__ == "__main__":
    os._exit(main())  # nothing is left to tidy up, and hundreds may end at once
