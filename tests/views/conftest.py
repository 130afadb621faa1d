"""A store with runs in it, and the files that runs leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.model import Profile, Run
from agentd.run.context import new_id
from agentd.states import RunState
from agentd.store import attempts, runs
from agentd.store.connection import Store, open_store


@dataclass
class Home:
    """One installation's state."""

    settings: Settings
    store: Store

    def run(self, task_id: str = "issue-1", adapter: str = "command", **fields: Any) -> str:
        """A new run, queued."""
        now, run_id = self.store.clock.now(), new_id(self.store.clock, f"{task_id}-")
        with self.store.write() as connection:
            number = attempts.charge(self.store, connection, task_id, run_id)
            run = Run(
                run_id=run_id,
                task_id=task_id,
                issue_number=1,
                attempt=number,
                profile="one@1",
                state=RunState.queued,
                branch=f"agent/{task_id}",
                started_at=now,
                updated_at=now,
                **fields,
            )
            profile = Profile(name="one", adapter=adapter, command=("x",) if adapter == "command" else ())
            runs.add_run(self.store, connection, run, {"profile": profile.model_dump(mode="json")})
        self.folder(run_id).mkdir(parents=True)
        return run_id

    def move(self, run_id: str, *states: RunState, **fields: Any) -> None:
        for state in states:
            runs.change_state(self.store, run_id, state, **fields)

    def folder(self, run_id: str) -> Path:
        return self.settings.state_dir / "runs" / run_id

    def program(self, run_id: str, name: str, output: bytes = b"") -> None:
        """It was started now, and has printed something."""
        (self.folder(run_id) / f"{name}.started").touch()
        now = self.store.clock.now().timestamp()
        os.utime(self.folder(run_id) / f"{name}.started", (now, now))
        self.print(run_id, name, output)

    def print(self, run_id: str, name: str, output: bytes) -> None:
        suffix = "out" if name.startswith("agent") else "log"
        with (self.folder(run_id) / f"{name}.{suffix}").open("ab") as file:
            file.write(output)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    settings = Settings(repo="a/b", state_dir=tmp_path / "state", log_dir=tmp_path / "logs", repo_root=tmp_path)
    store = open_store("", settings.state_dir, SystemClock())
    yield Home(settings, store)
    store.close()
