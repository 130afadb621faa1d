"""A practice GitHub with one repository, a clock that only moves when somebody sleeps, and connections to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentd.github import GitHub, connect
from agentd.practice import PracticeGitHub

REPO = "alice/widget"


class Time:
    """A clock and a sleep in one: sleeping moves the clock and nothing else."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


class HubTime:
    """The practice GitHub's clock: the real one, as its Date header, unless a test makes things in the past."""

    def __init__(self) -> None:
        self.ago = timedelta()
        self.frozen: datetime | None = None

    def __call__(self) -> datetime:
        return self.frozen or datetime.now(UTC) - self.ago


@pytest.fixture
def hub_time() -> HubTime:
    return HubTime()


@pytest.fixture
def hub(tmp_path: Path, hub_time: HubTime) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path, clock=hub_time) as hub:
        for login in ("alice", "bot", "mallory"):
            hub.add_user(login)
        hub.add_repo(REPO, files={"README.md": "# widget\n"})
        hub.grant(REPO, "bot", "write")
        yield hub


@pytest.fixture
def login(hub: PracticeGitHub, time: Time) -> Callable[..., GitHub]:
    """`login("alice")` is a new connection as alice."""

    def make(name: str, **settings: Any) -> GitHub:
        token = hub.add_token(name)
        return connect(hub.url, token, REPO, clock=time, sleep=time.sleep, **settings)

    return make


@pytest.fixture
def gh(login: Callable[..., GitHub]) -> GitHub:
    """The connection of agentd's own account, `bot`, with its identity already known."""
    gh = login("bot")
    gh.request("GET", "/user")
    return gh


class Seen:
    """The requests since this was made."""

    def __init__(self, hub: PracticeGitHub) -> None:
        self.hub = hub
        self.start = len(hub.log)

    @property
    def requests(self) -> list[Any]:
        return list(self.hub.log[self.start :])

    @property
    def short(self) -> list[tuple[str, int]]:
        return [(record.method, record.status) for record in self.requests]

    @property
    def points(self) -> int:
        return sum(record.charged for record in self.requests)

    @property
    def writes(self) -> list[Any]:
        return [r for r in self.requests if r.method != "GET" and not r.path.endswith("/graphql")]


@pytest.fixture
def seen(hub: PracticeGitHub) -> Callable[[], Seen]:
    return lambda: Seen(hub)


@pytest.fixture
def branch(hub: PracticeGitHub) -> Callable[[GitHub, str], str]:
    """`branch(gh, name)` makes a branch one commit ahead of main; its commit."""
    return lambda gh, name: hub.commit(gh.repo, name, {f"{name.replace('/', '-')}.txt": name})
