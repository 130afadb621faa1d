"""Running a program in a sandbox to its end, or to the limit that it runs into."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agentd.sandbox.launch import Contained, SandboxFailed, start
from agentd.sandbox.limits import Limits, Sample, disk_usage, exceeded, kernel_limits, look_at
from agentd.sandbox.profile import SandboxSpec

LOOK_SECONDS = 0.05
LAST_BYTES = 2000
"""Of the output, for bubblewrap's words when it fails: it writes them in pieces."""
DISK_SHARE = 20
"""A look at the disk may take this fraction of the time: the next one comes after so many times its own duration."""


@dataclass(frozen=True)
class Held:
    """How it ended, and what it used."""

    ended: Literal["exited", "limit", "stopped"]
    exit_status: int
    reason: str
    """the limit that was passed, with both figures"""
    sample: Sample
    end_seconds: float
    """from the decision to end it until nothing was left"""


def hold(
    spec: SandboxSpec,
    argv: list[str],
    limits: Limits,
    output: Callable[[bytes], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    grace_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Held:
    """Run a program until it ends, `stopped` says so, or a limit is passed; nothing of it is left then.

    `output` gets what it writes, up to `limits.output_bytes`. Raises what `start` raises.
    """
    folders = [spec.workspace, *([spec.home] if spec.home else [])]
    before = disk_usage(folders)
    with start(spec, [*kernel_limits(limits), *argv]) as contained:
        watch = _Watch(contained, limits, folders, before, output, clock)
        reason = watch.until_end(stopped)
        decided = clock()
        contained.end(grace_seconds if reason is not None else 0.0)
        took = clock() - decided
        watch.read()
        status = contained.process.returncode
        if reason is None and not contained.has_run():
            said = watch.last.decode(errors="replace").strip()
            raise SandboxFailed(f"the sandbox could not be made: {said or f'exit status {status}'}")
        if reason is None:
            return Held("exited", status, "", watch.sample, took)
        return Held("limit" if reason else "stopped", status, reason, watch.sample, took)


class _Watch:
    """Reads the output and takes samples, by turns."""

    def __init__(
        self,
        contained: Contained,
        limits: Limits,
        folders: list[Path],
        disk_before: int,
        output: Callable[[bytes], None],
        clock: Callable[[], float],
    ) -> None:
        self._contained, self._limits, self._folders, self._before = contained, limits, folders, disk_before
        self._output, self._clock = output, clock
        self._began = self._heard = self._disk_at = clock()
        self.sample = Sample()
        self.last = b""
        assert contained.process.stdout is not None
        self._pipe = contained.process.stdout.fileno()
        os.set_blocking(self._pipe, False)

    def until_end(self, stopped: Callable[[], bool]) -> str | None:
        """None: it ended by itself; "": it was told to; else the limit that was passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            selector.register(self._contained.init, selectors.EVENT_READ)
            next_look = self._began
            while not self._contained.is_empty():
                events = selector.select(max(0.0, next_look - self._clock()))
                if any(key.fd == self._pipe for key, _ in events) and not self.read(once=True):
                    selector.unregister(self._pipe)
                if stopped():
                    return ""
                if self._clock() >= next_look:
                    self._look()
                    next_look = self._clock() + LOOK_SECONDS
                if reason := exceeded(self.sample, self._limits):
                    return reason
            self._contained.process.wait()
        return None

    def read(self, *, once: bool = False) -> bool:
        """Take what was written, one piece or all of it; False at the end. What is over the limit is dropped."""
        while True:
            try:
                data = os.read(self._pipe, 1 << 18)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._heard = self._clock()
            self.last = (self.last + data[-LAST_BYTES:])[-LAST_BYTES:]
            room = self._limits.output_bytes - self.sample.output_bytes
            if room > 0:
                self._output(data[:room])
            self.sample = replace(self.sample, output_bytes=self.sample.output_bytes + len(data))
            if once:
                return True

    def _look(self) -> None:
        now = self._clock()
        processes, memory, cpu = look_at(self._contained.init_pid, self._limits.processes)
        disk = self.sample.disk_bytes
        if now >= self._disk_at:
            disk = disk_usage(self._folders) - self._before
            self._disk_at = self._clock() + max(LOOK_SECONDS, (self._clock() - now) * DISK_SHARE)
        self.sample = replace(
            self.sample,
            wall_seconds=now - self._began,
            silent_seconds=now - self._heard,
            cpu_seconds=max(cpu, self.sample.cpu_seconds),
            memory_bytes=memory,
            processes=processes,
            disk_bytes=disk,
        )
