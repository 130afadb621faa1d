"""A store as months of work leave it, and the page served from it over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from agentd.clock import SystemClock
from agentd.loading import load
from agentd.model import Decision, Event, Run, Step, Verdict, root_step_id, stage_step_id, step_id_of
from agentd.states import RunState
from agentd.store import ledger, runs, steps, verdicts
from agentd.store.connection import Store, open_store
from agentd.store.verdicts import About
from agentd.web.server import serving
from agentd.web.source import Source

REPO = "alice/widget"
CANARY = "sk-ant-canary-4f1d9a7c3b5e8f20aa11bb22cc33dd44"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e{{7*7}}"
CONFIG = f'repo = "{REPO}"\nverify_command = "true"\n\n[profiles.build]\nadapter = "command"\ncommand = ["true"]\n'


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "EXECUTOR_BOT_TOKEN": CANARY,
        "ANTHROPIC_API_KEY": CANARY,
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "AGENT_STATE_DIR": str(tmp_path / "state"),
        "AGENT_LOG_DIR": str(tmp_path / "logs"),
    }


@pytest.fixture
def filled(tmp_path: Path, environ: dict[str, str]) -> Store:
    """A store with a run of each kind."""
    (tmp_path / "agentd.toml").write_text(CONFIG)
    return open_store("", tmp_path / "state", SystemClock())


def add_run(store: Store, number: int, state: RunState, **fields: Any) -> Run:
    """A run of the issue with that number."""
    now = store.clock.now() - timedelta(minutes=number % 1000)
    values: dict[str, Any] = {
        "run_id": f"issue-{number}-{int(now.timestamp() * 1000)}-abcdef",
        "task_id": f"issue-{number}",
        "issue_number": number,
        "attempt": 1,
        "profile": "build@0123456789ab",
        "state": state,
        "branch": f"agent/issue-{number}",
        "title": f"Task {number}",
        "executor": "host/0a1b2c3d:4711:1",
        "started_at": now,
        "updated_at": now,
    }
    run = Run(**values | fields)
    order = {"task": {"goal": run.title, "verify_command": "make test"}, "sandbox": "required"}
    with store.write() as connection:
        runs.add_run(store, connection, run, order)
    return run


def add_story(store: Store, run: Run) -> None:
    """Steps, a verdict and an Event of a run, all with hostile text."""
    root, stage = root_step_id(run.run_id), stage_step_id(run.run_id, "agent-0")
    base: dict[str, Any] = {"run_id": run.run_id, "started_at": run.started_at}
    ended = run.started_at + timedelta(seconds=40)
    steps.record(
        store,
        [
            Step(step_id=stage, parent_id=root, kind="stage", name="agent-0", state="ok", ended_at=ended, **base),
            Step(
                step_id=step_id_of(run.run_id, stage, "tool_call", "bash"),
                parent_id=stage,
                kind="tool_call",
                name="bash",
                state="denied",
                summary=HOSTILE,
                **base | {"started_at": run.started_at + timedelta(seconds=1)},
            ),
        ],
    )
    verdict = Verdict(
        control="policy", rule_id="url_allowlist", decision=Decision.deny, scope=run.run_id, observed=HOSTILE
    )
    verdicts.record(store, verdict, About(REPO, "worker", run))
    event = Event(
        event_id=f"evt_{run.run_id}",
        timestamp=run.started_at,
        source="worker",
        event_type="agent_started",
        repo=REPO,
        task_id=run.task_id,
        run_id=run.run_id,
        status="ok",
        data={"command": HOSTILE},
    )
    ledger.append(store, event)


def plan_row(number: int, **fields: Any) -> dict[str, Any]:
    """A row of the plan."""
    return {
        "task_id": f"issue-{number}",
        "issue_number": number,
        "title": f"Task {number}",
        "url": f"https://github.com/{REPO}/issues/{number}",
        "priority": "medium",
        "dependencies": [],
        "decision": "hold",
        "rule_id": "dependencies",
        "reason": "waits for issue-1",
        "action": "nothing to do",
        "retry_at": None,
        **fields,
    }


@pytest.fixture
def source(filled: Store, tmp_path: Path, environ: dict[str, str]) -> Source:
    loaded = load(environ=environ, directory=tmp_path)
    return Source(loaded, tmp_path, SystemClock(), environ)


@contextmanager
def served(source: Source, token: str = "", host: str = "127.0.0.1") -> Iterator[str]:
    """The page's address, while a thread serves it."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    address: list[str] = []
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(source, host, 0, token) as taken:
            address.append(taken.rstrip("/"))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


@pytest.fixture
def page(source: Source) -> Iterator[str]:
    with served(source) as address:
        yield address


Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(page: str) -> Ask:
    """One request, without a proxy: path, method, headers, json."""
    session = requests.Session()
    session.trust_env = False

    def send(path: str, method: str = "GET", **how: Any) -> requests.Response:
        return session.request(method, page + path, timeout=20, allow_redirects=False, **how)

    return send
