"""Fixtures for everything: clocks that tests turn, and a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentd.store.connection import Store, open_store
from tests.traces import Receiver, receiving

SLOW_AGENTS = ("deepagents", "dcode-acp", "opencode-acp")
"""They take from ten seconds to a minute to start; OpenCode is quicker, but not with seven faults in turn."""
ALWAYS = "test_a_labelled_issue_becomes_a_pull_request_by_a_real_agent"
"""What the slow ones are tried in every time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long with real agents."""
    for item in items:
        chosen = getattr(item, "callspec", None)
        if item.get_closest_marker("real_agents") is None or chosen is None:
            continue
        agent = str(chosen.params.get("agent") or chosen.params.get("rig"))
        faults = item.nodeid.startswith("tests/agents/test_agent_faults.py")
        if (agent in SLOW_AGENTS and ALWAYS not in item.nodeid) or (agent in ("opencode", "mini") and faults):
            item.add_marker("slow_agents")


class TurnedClock:
    """A clock that stands still until a test turns it."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.boot = 1000.0
        self.booted = "boot-1"

    def now(self) -> datetime:
        return self.wall

    def boottime(self) -> float:
        return self.boot

    def boot_id(self) -> str:
        return self.booted

    def pass_seconds(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boot += seconds


def path_without(name: str, path: str, folder: Path) -> str:
    """A PATH with every program of `path` but one; the links to them are put into `folder`."""
    folder.mkdir()
    for place in path.split(":"):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name != name and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a token nor a proxy of whoever runs the tests reaches them."""
    for name in list(os.environ):
        if name.upper().endswith(("_PROXY", "_TOKEN")) or name in {"REPO", "GITHUB_API_URL", "GITHUB_SERVER_URL"}:
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def store(tmp_path: Path, clock: TurnedClock) -> Iterator[Store]:
    opened = open_store("", tmp_path / "state", clock)
    yield opened
    opened.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that takes what is posted to it: a collector, or LangSmith."""
    with receiving() as made:
        yield made
