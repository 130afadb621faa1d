"""`agentd gateway serve` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

AGENTD = (sys.executable, "-m", "agentd")


class Place:
    """An installation with a state directory and settings."""

    def __init__(self, folder: Path, environ: Mapping[str, str], settings: str = "") -> None:
        self.folder = folder
        (folder / "agentd.toml").write_text(f'repo = "o/r"\nstate_dir = "{folder / "state"}"\n{settings}')
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])

    def agentd(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        done = subprocess.run(
            [*AGENTD, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def key(self, run: str = "run-1") -> str:
        """A new key."""
        return self.agentd("gateway", "key", "--run", run, "--profile", "build").stdout.strip()

    @contextmanager
    def serving(self, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """The gateway's address and process; ended with Ctrl-C."""
        command = [*AGENTD, "gateway", "serve", "--port", "0", *words]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
