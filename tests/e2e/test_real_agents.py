"""The main path with the real agent programs at work, their model played by the practice model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentd.practice import PracticeGitHub
from agentd.practice.model import PER_PROMPT, ScriptedModel
from agentd.run.process import RUN_VARIABLE
from tests.agents.real import AGENTS, program
from tests.e2e.conftest import Installation, environment, written
from tests.e2e.test_restart import wait_for

pytestmark = pytest.mark.real_agents

STEPS: list[dict[str, Any]] = [
    {"shell": "cat README.md"},
    {"write": {"path": "greeting.py", "content": "print('hello, world')\n"}},
    {"text": "greeting.py prints the greeting."},
]
VERIFY = "python3 greeting.py | grep -qx 'hello, world'"


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    program(request.param)
    return str(request.param)


@pytest.fixture
def there(hub: PracticeGitHub, model: ScriptedModel, agent: str) -> Iterator[Installation]:
    """An installation whose only profile is the real agent; not in /tmp, where codex keeps no helper programs."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="agentd-"))
    base = model.base_url(PER_PROMPT, "work")
    model.script("work", STEPS)
    environ = environment(folder, hub, hub.add_token("agentd-bot")) | {
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": "practice",
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": "practice",
    }
    (folder / "agentd.toml").write_text(
        f"verify_command = {json.dumps(VERIFY)}\nmax_fix_rounds = 1\n"
        f"[profiles.build]\nadapter = {json.dumps(agent)}\ncommand = {json.dumps([program(agent)])}\n"
    )
    yield Installation(hub, folder, environ)
    shutil.rmtree(folder)


def left_running(run_id: str) -> list[str]:
    """Command lines of processes that carry the run's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_VARIABLE) == run_id:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_labelled_issue_becomes_a_pull_request_by_a_real_agent(
    there: Installation, model: ScriptedModel, agent: str
) -> None:
    number = there.issue("Greet the world", "greeting.py must print the greeting.")
    [run] = there.once()["runs"]
    assert run["state"] == "in_review"
    [pull] = there.pulls()
    [file] = there.get(f"/pulls/{pull['number']}/files")
    assert (file["filename"], file["status"]) == ("greeting.py", "added")
    assert "+print('hello, world')" in file["patch"]
    assert VERIFY in pull["body"]
    assert there.labels(number) == {"agent-ready", "status:in-review"}
    assert any("greeting.py must print the greeting." in str(request.body) for request in model.requests())
    log = Path(run["log_path"]).read_text()
    assert "greeting.py prints the greeting." in log
    sessions = {"claude": '"session_id"', "codex": '"thread_id"'}
    assert sessions[agent] in log
    assert left_running(run["run_id"]) == []


def test_a_real_agent_takes_its_session_up_again_after_a_failed_verify(
    there: Installation, model: ScriptedModel
) -> None:
    wrong = {"write": {"path": "greeting.py", "content": "print('hullo')\n"}}
    model.script("work", [wrong, {"text": "I chose hullo."}, *STEPS])
    there.issue("Greet the world")
    [run] = there.once()["runs"]
    assert run["state"] == "in_review"
    [file] = there.get(f"/pulls/{there.pulls()[0]['number']}/files")
    assert "+print('hello, world')" in file["patch"]
    mending = [str(request.body) for request in model.requests() if "did not pass" in str(request.body)]
    assert mending
    assert all("I chose hullo." in body for body in mending)


def test_a_real_agent_is_gone_with_a_stop(there: Installation, model: ScriptedModel) -> None:
    model.script("work", [{"shell": "touch here.txt; sleep 300"}, {"text": "Done."}])
    there.issue("Greet the world")
    there.run("start")
    try:
        wait_for(lambda: written(there.folder, "worktrees/alice/widget/*", "here.txt"))
        [run] = there.status()["running"]
        assert left_running(run["run_id"])
    finally:
        there.run("stop", "--now")
    assert left_running(run["run_id"]) == []
    model.script("work", STEPS)
    [again] = there.once()["runs"]
    assert (again["run_id"], again["state"]) == (run["run_id"], "in_review")
