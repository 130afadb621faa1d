"""The fork server of `agentd once`: see tests.faults.crashing."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Installation


class ForkServer:
    """`tests.faults.crashing` as a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def once(self, here: Installation, trace: Path, point: int = -1, **more: Any) -> int:
        """Exit status of `agentd once` that dies at the boundary `point` (0 counts and lives, -1 does not count)."""
        order = {"point": point, "trace": str(trace), "folder": str(here.folder), "environ": here.environ, **more}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


Servers = Callable[[], AbstractContextManager[ForkServer]]
"""Lends a server for as long as the context lasts; waits while all are lent."""


@contextmanager
def fork_servers(count: int) -> Iterator[Servers]:
    """So many servers, each of which plays one order at a time."""
    made = [ForkServer() for _ in range(count)]
    idle: queue.Queue[ForkServer] = queue.Queue()
    for server in made:
        idle.put(server)

    @contextmanager
    def lend() -> Iterator[ForkServer]:
        server = idle.get()
        try:
            yield server
        finally:
            idle.put(server)

    try:
        yield lend
    finally:
        for server in made:
            server.close()
