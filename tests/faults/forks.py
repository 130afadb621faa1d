"""The fork server of `agentd once`: see tests.faults.crashing."""

from __future__ import annotations

import json
import subprocess
import sys
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
