"""A place to be looked at by the doctor: settings, a practice GitHub, and a shell in which remedies are pasted."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from agentd.cli import app
from agentd.clock import SystemClock
from agentd.doctor.configuration import unusable
from agentd.doctor.examine import GROUPS, examine
from agentd.doctor.finding import Finding
from agentd.doctor.visit import Visit
from agentd.errors import AgentdError, ConfigurationError
from agentd.loading import load
from agentd.model import Run
from agentd.practice import PracticeGitHub
from agentd.run.context import new_id
from agentd.states import RunState
from agentd.store import attempts, runs
from agentd.store.connection import Store, bind, open_store

NUMBERS = itertools.count(1)
HERE = Path(__file__).parent


class HubClock:
    """GitHub's clock, which a test may set."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Ahead(SystemClock):
    """A clock that somebody has set wrong."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return super().now() + self.by


@dataclass
class Place:
    """One installation, as a person at a shell has it."""

    hub: PracticeGitHub
    hub_clock: HubClock
    repo: str
    folder: Path
    environ: dict[str, str]
    effects: dict[str, Callable[[list[str]], None]] = field(default_factory=dict)
    """what happens when a command is run that this machine cannot be given: by the word it begins with"""
    fill_in: dict[str, str] = field(default_factory=dict)
    """what a person writes for a word in capitals"""
    store_: Store | None = None
    ahead: timedelta = timedelta()
    """of this machine's clock"""

    @property
    def state_dir(self) -> Path:
        return self.folder / ".agentd" / "state"

    def configure(self, text: str = "") -> None:
        """agentd.toml; keys outside a table first."""
        profile = f'[profiles.one]\nadapter = "command"\ncommand = ["{sys.executable}"]\n'
        (self.folder / "agentd.toml").write_text(f"{text}\n" if "[profiles" in text else f"{text}\n{profile}")

    @property
    def store(self) -> Store:
        """The store, made when it is first asked for."""
        if self.store_ is None:
            self.store_ = open_store("", self.state_dir, SystemClock())
            bind(self.store_, self.repo)
        return self.store_

    def visit(self) -> Visit:
        loaded = load(environ=self.environ, directory=self.folder)
        return Visit(loaded, self.environ, self.folder, clock=Ahead(self.ahead))

    def look(self, *groups: str, smoke: bool = False) -> list[Finding]:
        """What the doctor finds in these groups."""
        try:
            visit = self.visit()
        except ConfigurationError as error:
            return [unusable(error)]
        visit.smoke = smoke
        return examine(visit, groups={name: GROUPS[name] for name in groups or GROUPS})

    def paste(self, remedy: str) -> None:
        """Run each line as a person would who pastes it; what it exports holds from then on."""
        for word, text in self.fill_in.items():
            remedy = remedy.replace(word, text)
        for line in remedy.splitlines():
            words = shlex.split(line)
            if words[0] == "agentd" and "agentd" not in self.effects:
                self.agentd(*words[1:])
            elif words[0] in self.effects:
                self.effects[words[0]](words[1:])
            else:
                self.shell(line)

    def agentd(self, *words: str) -> str:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            done = CliRunner(env=dict.fromkeys(os.environ) | self.environ).invoke(app, list(words))
        finally:
            os.chdir(before)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert isinstance(done.exception, AgentdError), done.exception
            raise done.exception
        assert done.exit_code == 0, (words, done.output)
        return done.output

    def shell(self, line: str) -> None:
        path = f"{HERE / 'shims'}:{Path(sys.executable).parent}:{self.environ['PATH']}"
        done = _bash(line, self.folder, {**self.environ, "PATH": path})
        path_before = self.environ["PATH"]
        self.environ.clear()
        self.environ.update(done)
        self.environ["PATH"] = path_before if self.environ["PATH"] == path else self.environ["PATH"]

    def issue(self, *labels: str, title: str = "Do it", minutes_ago: float = 0.0) -> int:
        before, self.hub_clock.ahead = self.hub_clock.ahead, self.hub_clock.ahead - timedelta(minutes=minutes_ago)
        try:
            return self.hub.create_issue(self.repo, title, "Text.", ["agent-ready", *labels], author="alice")
        finally:
            self.hub_clock.ahead = before

    def act(self, method: str, path: str, body: Any = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"token {self.hub.add_token('alice')}"}
            url = f"{self.hub.url}/repos/{self.repo}{path}"
            answer = session.request(method, url, json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def run(self, task_id: str, state: RunState, minutes_ago: float = 0.0, **fields: Any) -> str:
        now = self.store.clock.now() - timedelta(minutes=minutes_ago)
        run_id = new_id(self.store.clock, f"{task_id.lower()}-")
        with self.store.write() as connection:
            number = attempts.charge(self.store, connection, task_id, run_id)
            values = {"executor": "host/1:1:1", "issue_number": 1, "log_path": str(self.folder / "no.log"), **fields}
            run = Run(
                run_id=run_id,
                task_id=task_id,
                attempt=number,
                profile="one@1",
                state=state,
                branch=f"agent/{task_id}",
                started_at=now,
                updated_at=now,
                **values,
            )
            runs.add_run(self.store, connection, run, {"task": 1})
        return run_id


def _bash(line: str, folder: Path, environ: dict[str, str]) -> dict[str, str]:
    """Run the line; the environment afterwards."""
    after = folder / ".environment"
    done = subprocess.run(
        ["bash", "-c", f"{line}\nresult=$?\nenv -0 > {shlex.quote(str(after))}\nexit $result"],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, (line, done.stdout)
    found = dict(pair.split("=", 1) for pair in after.read_text().split("\0") if pair)
    return {name: value for name, value in found.items() if name not in ("_", "PWD", "SHLVL", "OLDPWD")}


@pytest.fixture(scope="module")
def hub_clock() -> HubClock:
    return HubClock()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, hub_clock: HubClock) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path_factory.mktemp("github"), clock=hub_clock) as made:
        for name in ("alice", "bot"):
            made.add_user(name)
        yield made


@pytest.fixture
def place(hub: PracticeGitHub, hub_clock: HubClock, tmp_path: Path) -> Iterator[Place]:
    """In order, but for what a first start makes."""
    repo = f"alice/d{next(NUMBERS)}"
    hub.add_repo(repo)
    hub.grant(repo, "bot", "write")
    hub.set_rate_limit()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "REPO": repo,
        "EXECUTOR_BOT_TOKEN": hub.add_token("bot"),
        "GITHUB_API_URL": hub.url,
        "GITHUB_SERVER_URL": hub.url,
        "VERIFY_COMMAND": "true",
        "AGENT_STATE_DIR": str(tmp_path / ".agentd" / "state"),
        "AGENT_LOG_DIR": str(tmp_path / ".agentd" / "logs"),
        "WORKTREE_BASE": str(tmp_path / "worktrees"),
        "REPO_ROOT": str(tmp_path),
        "GH_SHIM_TOKEN": hub.add_token("alice"),
    }
    made = Place(hub, hub_clock, repo, tmp_path, environ)
    made.configure()
    yield made
    if made.store_ is not None:
        made.store_.close()
