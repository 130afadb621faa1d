"""A practice GitHub for each test; every answer it gives is compared with GitHub's description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from agentd.practice import PracticeGitHub

from .description import complaint


class Wall:
    """A wall clock that a test turns."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def turn(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Caller:
    """Requests of one user, relative to the repository alice/widget unless the path starts with two slashes."""

    url: str
    token: str | None
    session: requests.Session = field(default_factory=requests.Session)

    def __call__(self, method: str, path: str, json: Any = None, **more: Any) -> requests.Response:
        base = self.url + (path[1:] if path.startswith("//") else f"/repos/alice/widget{path}")
        headers = dict(more.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"token {self.token}"
        return self.session.request(method, base, json=json, headers=headers, allow_redirects=False, timeout=20, **more)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def hub(tmp_path: Path, wall: Wall) -> Iterator[PracticeGitHub]:
    """With alice (owner), bob (write), tina (triage), mallory (nothing) and alice/widget."""
    complaints: list[str] = []

    def compare(method: str, path: str, status: int, data: Any) -> None:
        if found := complaint(method, path, status, data):
            complaints.append(found)

    with PracticeGitHub(tmp_path / "hub", clock=wall, on_response=compare) as running:
        for login in ("alice", "bob", "tina", "mallory"):
            running.add_user(login)
        running.add_repo("alice/widget", files={"README.md": "# widget\n", "src/one.txt": "1\n2\n3\n"})
        running.grant("alice/widget", "bob", "write")
        running.grant("alice/widget", "tina", "triage")
        yield running
    assert not complaints, "\n".join(complaints)


def caller(hub: PracticeGitHub, login: str | None) -> Caller:
    return Caller(hub.url, hub.add_token(login) if login else None)


@pytest.fixture
def alice(hub: PracticeGitHub) -> Caller:
    return caller(hub, "alice")


@pytest.fixture
def bob(hub: PracticeGitHub) -> Caller:
    return caller(hub, "bob")


@pytest.fixture
def tina(hub: PracticeGitHub) -> Caller:
    return caller(hub, "tina")


@pytest.fixture
def mallory(hub: PracticeGitHub) -> Caller:
    return caller(hub, "mallory")


@pytest.fixture
def nobody(hub: PracticeGitHub) -> Caller:
    return caller(hub, None)
