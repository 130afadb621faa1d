"""A place to measure in: a practice GitHub in a process of its own, and an installation of agentd that works on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

REPO = "alice/widget"
TOKEN = "practice-token-of-the-bot"
OWNER_TOKEN = "practice-token-of-the-owner"
FILES = {"README.md": "# widget\n"}
WAIT_SECONDS = 120.0
TODO = ("agent-ready", "status:todo")
"""Labels of an issue that may be worked on at once."""


@dataclass(frozen=True)
class Site:
    """A running practice GitHub and a HOME for agentd."""

    folder: Path
    url: str
    environ: dict[str, str]

    @property
    def remote(self) -> str:
        """Address of the repository for git."""
        return f"{self.url}/{REPO}.git"

    @property
    def state(self) -> Path:
        return self.folder / ".agentd" / "state"

    def control(self, action: str, body: dict[str, Any]) -> Any:
        """Do something on the practice GitHub as its operator."""
        answer = self._session().post(f"{self.url}/_practice/{action}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def requests(self) -> list[dict[str, Any]]:
        """Every REST request of the bot so far."""
        answer = self._session().get(f"{self.url}/_practice/log", timeout=60)
        return [row for row in answer.json() if row["user"] == "agentd-bot" and row["kind"] == "rest"]

    def issue(self, title: str, labels: tuple[str, ...] = TODO) -> int:
        """Number of a new issue."""
        number: int = self.control("issues", {"repo": REPO, "title": title, "body": title, "labels": labels})["number"]
        return number

    def label(self, issue: int, label: str) -> None:
        """The repository's owner sets a label."""
        address = f"{self.url}/repos/{REPO}/issues/{issue}/labels"
        headers = {"Authorization": f"token {OWNER_TOKEN}"}
        self._session().post(address, json={"labels": [label]}, headers=headers, timeout=60).raise_for_status()

    def configure(self, *lines: str, agent: str) -> None:
        """Write agentd.toml with a shell script as the agent and a verify command that passes."""
        profile = (
            f'[profiles.build]\nadapter = "command"\nprompt = "stdin"\ncommand = {json.dumps(["sh", "-c", agent])}\n'
        )
        (self.folder / "agentd.toml").write_text("\n".join(['verify_command = "true"', *lines, profile]))

    def agentd(self, *arguments: str) -> str:
        """Run a command of agentd to its end; its output. Raises CalledProcessError."""
        return subprocess.run(
            [sys.executable, "-m", "agentd", *arguments],
            cwd=self.folder,
            env=self.environ,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.agentd("status", "--json"))
        return found

    @contextmanager
    def supervisor(self) -> Iterator[psutil.Process]:
        """`agentd start`, and what it started is gone afterwards."""
        self.agentd("start")
        pid = int((self.state / "supervisor.pid").read_text().split()[0])
        try:
            yield psutil.Process(pid)
        finally:
            self.agentd("stop", "--now")

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session


@contextmanager
def site() -> Iterator[Site]:
    """A fresh one; everything of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="agentd-bench-"))
    seed = {
        "users": [{"login": "alice"}, {"login": "agentd-bot"}],
        "repos": [{"full_name": REPO, "files": FILES, "grants": {"agentd-bot": "write"}}],
        "tokens": [{"user": "agentd-bot", "token": TOKEN}, {"user": "alice", "token": OWNER_TOKEN}],
    }
    (folder / "seed.json").write_text(json.dumps(seed))
    ready = folder / "ready"
    serve = ["practice", "serve", f"--root={folder / 'github'}", f"--seed={folder / 'seed.json'}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "agentd", *serve, f"--ready-file={ready}"], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: ready.exists() and ready.read_text().endswith("\n"))
        url = ready.read_text().strip()
        home = folder / "home"
        home.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "REPO": REPO,
            "EXECUTOR_BOT_TOKEN": TOKEN,
            "GITHUB_API_URL": url,
            "GITHUB_SERVER_URL": url,
        }
        yield Site(home, url, environ)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(reached: Callable[[], object], pause_seconds: float = 0.02) -> None:
    """Until it is reached. Raises TimeoutError."""
    until = time.monotonic() + WAIT_SECONDS
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError(f"not reached within {WAIT_SECONDS:g} s")
        time.sleep(pause_seconds)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and of its children that have ended."""
    return float(sum(process.cpu_times()[:4]))


def cpu_percent(process: psutil.Process, seconds: float) -> float:
    """Percent of one core that a process takes over so many seconds."""
    before, began = cpu_seconds(process), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(process) - before) / (time.monotonic() - began)


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a process in MB (10^6 bytes)."""
    return float(process.memory_info().rss) / 1e6
