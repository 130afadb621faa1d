"""The trace of a real agent's run, read by a viewer that is nobody's of ours: arize-phoenix from the package index."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agentd.practice import PracticeGitHub
from agentd.practice.model import PER_PROMPT, ScriptedModel
from agentd.trace.span import trace_id_of
from tests.agents.real import INSTALLED, program
from tests.e2e.conftest import Installation, environment
from tests.e2e.test_real_agents import STEPS, configure

pytestmark = [pytest.mark.real_agents, pytest.mark.network, pytest.mark.timeout(900)]
VIEWER = "AGENTD_PHOENIX"
"""Environment variable with the program `phoenix` of an installation that is there already."""
KINDS = {"AGENT", "LLM", "TOOL"}
"""What Phoenix makes of the GenAI names of agents, model calls and tool calls."""


def installed(folder: Path) -> str:
    """The viewer's program; it is installed when there is none. Skipped where the index does not give it."""
    if os.environ.get(VIEWER):
        return os.environ[VIEWER]
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run([folder / "bin" / "pip", "install", "-q", "arize-phoenix"], capture_output=True, timeout=600)
    if done.returncode:
        pytest.skip(f"arize-phoenix cannot be installed: {done.stderr.decode()[-300:]}")
    return str(folder / "bin" / "phoenix")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[str]:
    """The address of a viewer with nothing in it."""
    port, environ = free_port(), {name: os.environ[name] for name in ("PATH", "HOME")}
    environ |= {"PHOENIX_WORKING_DIR": str(tmp_path), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port)}
    environ |= {"PHOENIX_GRPC_PORT": str(free_port()), "PHOENIX_TELEMETRY_ENABLED": "false"}
    with (tmp_path / "viewer.log").open("wb") as log:
        command = [installed(tmp_path / "venv"), "serve"]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                requests.get(f"{address}/healthz", timeout=2).raise_for_status()
                break
            except requests.RequestException:
                assert server.poll() is None, (tmp_path / "viewer.log").read_text()[-2000:]
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def shown(viewer: str, trace_id: str) -> list[dict[str, Any]]:
    """The spans that the viewer has of a trace; it takes them in by and by."""
    found: list[dict[str, Any]] = []
    for _ in range(60):
        answer = requests.get(f"{viewer}/v1/projects/default/spans", params={"limit": "500"}, timeout=10)
        if answer.ok:
            rows = answer.json()["data"]
            now = [row for row in rows if row["context"]["trace_id"] == trace_id]
            if now and len(now) == len(found):
                return now
            found = now
        time.sleep(0.5)
    return found


@pytest.mark.parametrize("agent", ["claude"])
def test_a_viewer_reads_the_trace_of_a_real_agents_run(
    hub: PracticeGitHub, tmp_path: Path, viewer: str, agent: str
) -> None:
    program(agent)
    folder = tmp_path / "home"
    folder.mkdir()
    with ScriptedModel() as model:
        base = model.base_url(PER_PROMPT, "work")
        model.script("work", STEPS)
        environ = environment(folder, hub, hub.add_token("agentd-bot")) | {
            "PATH": f"{INSTALLED / 'bin'}:{os.environ['PATH']}",
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_API_KEY": "practice-key",
        }
        there = Installation(hub, folder, environ)
        configure(there, agent, f'tracing = {{sinks = ["otlp"], endpoint = "{viewer}"}}', telemetry=True)
        there.issue("Greet the world", "greeting.py must print the greeting.")
        [run] = there.once(timeout=400)["runs"]
    assert run["state"] == "in_review", run["reason"]
    spans = shown(viewer, trace_id_of(run["run_id"]))
    names = {span["name"] for span in spans}
    assert {"invoke_workflow implement-issue", "stage agent-0", "stage verify-0", "invoke_agent build"} <= names
    assert any(name.startswith("chat ") for name in names) and any(name.startswith("execute_tool ") for name in names)
    assert {"claude_code.interaction", "claude_code.llm_request", "claude_code.tool"} <= names
    ids = {span["context"]["span_id"]: span for span in spans}
    roots = [span for span in spans if not span.get("parent_id")]
    assert [root["name"] for root in roots] == ["invoke_workflow implement-issue"]
    assert all(span["parent_id"] in ids for span in spans if span.get("parent_id"))
    assert {span["span_kind"] for span in spans} >= KINDS
    assert roots[0]["status_code"] == "OK"
