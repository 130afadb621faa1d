"""Who takes part in a chaos run: the fleet's processes, which come back whenever they are killed, and a person."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentd.practice import PracticeGitHub
from agentd.practice.refusal import Refused
from tests.e2e.conftest import REPO, Installation


@dataclass
class Host:
    """One process of the fleet with a home of its own, started again there whenever it was killed."""

    here: Installation
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    wakes_at: float = 0.0
    """when it is started or continued"""
    stopped: bool = False

    @property
    def name(self) -> str:
        return self.here.folder.name

    @property
    def leads(self) -> bool:
        return "start" in self.command

    def start(self, module: str) -> None:
        with (self.here.folder / "out.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *self.command],
                cwd=self.here.folder,
                env=self.here.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wake(self, module: str) -> None:
        """Continue or start it, if it is time to."""
        if time.monotonic() < self.wakes_at:
            return
        if self.stopped:
            self.send(signal.SIGCONT)
            self.stopped = False
        elif self.process is None or self.process.poll() is not None:
            self.start(module)


class Person(threading.Thread):
    """Merges every pull request soon after it appears."""

    def __init__(self, hub: PracticeGitHub, here: Installation, seed: int) -> None:
        super().__init__(name="person", daemon=True)
        self.hub, self.here = hub, here
        self.choice = random.Random(seed)
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.choice.uniform(0.2, 0.6)):
            for pull in self.here.pulls():
                with suppress(Refused):  # its base has moved, or it is being changed: later
                    self.hub.merge(REPO, pull["number"], method="squash")

    def __enter__(self) -> Person:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


def leftovers(folder: Path) -> list[int]:
    """Living processes of the fleet and its agents: at home below the folder, or guardians and git that work there."""
    found, home, inside = [], f"HOME={folder}/".encode(), f"{folder}/homes/".encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            environ = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        ours = any(entry.startswith(home) for entry in environ)
        ours |= inside in words and (b"guardian.py" in words or words.startswith(b"git"))
        if ours and state not in "ZX":
            found.append(int(process.name))
    return found
