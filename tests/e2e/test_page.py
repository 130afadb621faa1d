"""The page beside a supervisor that works: what runs is told, looked for and ended through it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import requests

from agentd.clock import SystemClock
from agentd.loading import load
from agentd.web.source import Source
from tests.e2e.conftest import Installation
from tests.web.conftest import served

SLEEPER = "import time\nprint('asleep', flush=True)\ntime.sleep(600)\n"


def test_a_supervisor_shows_its_work_and_obeys_the_page(here: Installation) -> None:
    here.agent(SLEEPER)
    here.configure("poll_interval_seconds = 600")
    port = _free_port()
    started = here.run("start", f"--port={port}")
    try:
        assert f"http://127.0.0.1:{port}/" in started
        page = _Page(f"http://127.0.0.1:{port}")
        number = here.issue("Sleep")
        until(lambda: page.get("/api/v1/state")["supervisor"]["last_tick"])
        page.post("/api/v1/refresh")  # the next poll is ten minutes away
        run = until(lambda: next((run for run in page.get("/api/v1/state")["running"] if run["workspace"]), None))
        assert run["task_id"] == f"issue-{number}"
        until(lambda: "asleep" in page.read(f"/api/v1/runs/{run['run_id']}/log"))
        page.post(f"/api/v1/runs/{run['run_id']}/cancel")
        ended = until(lambda: _cancelled(page.get(f"/api/v1/{number}")))
        assert "by the operator" in ended["reason"]
        assert "agentd_supervisor_up 1.0" in page.read("/metrics")
    finally:
        here.run("stop", "--now", check=None)


def test_the_supervisors_page_takes_the_token_too(here: Installation) -> None:
    port = _free_port()
    here.run("start", f"--port={port}", AGENTD_WEB_TOKEN="let-me-in")
    try:
        page = f"http://127.0.0.1:{port}/metrics"
        asked = [
            requests.get(page, headers=headers, timeout=20) for headers in ({}, {"Authorization": "Bearer let-me-in"})
        ]
        assert [answer.status_code for answer in asked] == [401, 200]
    finally:
        here.run("stop", "--now", check=None)


def test_what_a_run_changed_and_its_evidence_are_shown(here: Installation) -> None:
    number = here.issue("Make it done")
    [run] = here.once()["runs"]
    here.once()  # the tick after a run writes its evidence
    home = here.folder / ".agentd"
    environ = {**here.environ, "AGENT_STATE_DIR": str(home / "state"), "AGENT_LOG_DIR": str(home / "logs")}
    loaded = load(environ=environ, directory=here.folder)
    with served(Source(loaded, here.folder, SystemClock(), environ)) as address:
        page = _Page(address)
        shown = page.get(f"/api/v1/runs/{run['run_id']}")
        assert shown["has_diff"] and shown["has_evidence"] and shown["verify"][0]["name"] == "verify-0"
        assert {step["kind"] for step in shown["steps"]} >= {"stage", "agent_turn"}
        assert f"+issue-{number}" in page.read(f"/api/v1/runs/{run['run_id']}/diff")
        assert page.read(f"/api/v1/runs/{run['run_id']}/evidence")


def test_an_address_that_is_taken_is_named(here: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in ("web", "start"):
            said = here.run(command, f"--port={port}", check=1)
            assert f"--port {port}" in said.splitlines()[-1] and "Traceback" not in said
    assert not here.status()["supervisor"]["running"]


def _cancelled(found: dict[str, Any]) -> dict[str, Any] | None:
    run: dict[str, Any] = found["task"]["runs"][0]
    return run if run["state"] == "cancelled" else None


class _Page:
    """Requests as a program of this machine sends them."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str) -> Any:
        answer = self._session.get(self._address + path, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def read(self, path: str) -> str:
        """What is sent within a moment."""
        with self._session.get(self._address + path, timeout=20, stream=True) as answer:
            assert answer.status_code == 200
            return answer.raw.read1(65536).decode() if "event-stream" in answer.headers["Content-Type"] else answer.text

    def post(self, path: str) -> None:
        mark = {"X-Agentd-CSRF": self.get("/api/v1/session")["csrf"]}
        answer = self._session.post(self._address + path, headers=mark, timeout=20)
        assert answer.status_code == 202, answer.text


def until(find: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `find` gives once it is something."""
    over = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < over
        time.sleep(0.1)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
