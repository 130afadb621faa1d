"""The main path with the real agent programs at work, their model played by the practice model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.practice import PracticeGitHub
from agentd.practice.model import PER_PROMPT, ScriptedModel
from tests.agents.real import AGENTS, INSTALLED, SUBMIT, left_running, profile_of, program
from tests.e2e.conftest import Installation, environment, written
from tests.e2e.test_restart import wait_for

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(600)]

STEPS: list[dict[str, Any]] = [
    {"shell": "cat README.md"},
    {"write": {"path": "greeting.py", "content": "print('hello, world')\n"}},
    {"text": "greeting.py prints the greeting."},
]
CANARY = "sk-canary-5d41402abc4b2a76b9719d911017c592"
LOOK = """
import os, pathlib
print("LOOKED", sorted(os.environ.items()))
tops = ("/proc", "/home", "/workspace", "/run", "/tmp", "/etc")
for path in (path for top in tops for path in pathlib.Path(top).rglob("*")):
    if path.parts[1] == "proc" and path.name not in ("environ", "cmdline"):
        continue
    try:
        found = path.read_bytes() if path.is_file() and path.stat().st_size < 1_000_000 else b""
    except OSError:
        continue
    if b"sk-" + b"canary" in found:
        print(path, found.decode(errors="replace"))
"""
"""What a curious agent would run: prints every real key that it can find."""
RUN_SECONDS = 400
"""Deep Agents alone takes a minute to start on a busy machine."""
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
    script(model, agent, STEPS)
    environ = environment(folder, hub, hub.add_token("agentd-bot")) | {
        "PATH": f"{INSTALLED / 'bin'}:{os.environ['PATH']}",
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": CANARY,
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": CANARY,
    }
    made = Installation(hub, folder, environ)
    configure(made, agent)
    yield made
    shutil.rmtree(folder)


def configure(there: Installation, agent: str, *settings: str, **profile: Any) -> None:
    """agentd.toml with the agent's profile; `settings` are lines before it."""
    chosen = profile_of(agent, **profile).model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    lines = [f"verify_command = {json.dumps(VERIFY)}", "max_fix_rounds = 1", *settings, "[profiles.build]"]
    (there.folder / "agentd.toml").write_text("\n".join([*lines, *(f"{k} = {toml(v)}" for k, v in chosen.items())]))


def toml(value: Any) -> str:
    """A value as TOML writes it: JSON, but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def script(model: ScriptedModel, agent: str, steps: list[dict[str, Any]]) -> None:
    """What the model does; mini-swe-agent ends by a command, not by words."""
    model.script("work", [{"shell": SUBMIT} if agent == "mini" and "text" in step else step for step in steps])


def test_a_labelled_issue_becomes_a_pull_request_by_a_real_agent(
    there: Installation, model: ScriptedModel, agent: str
) -> None:
    number = there.issue("Greet the world", "greeting.py must print the greeting.")
    [run] = there.once(timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "in_review"
    [pull] = there.pulls()
    [file] = there.get(f"/pulls/{pull['number']}/files")
    assert (file["filename"], file["status"]) == ("greeting.py", "added")
    assert "+print('hello, world')" in file["patch"]
    assert VERIFY in pull["body"]
    assert there.labels(number) == {"agent-ready", "status:in-review"}
    assert any("greeting.py must print the greeting." in str(request.body) for request in model.requests())
    if agent != "mini":
        assert "greeting.py prints the greeting." in Path(run["log_path"]).read_text()
    assert left_running(run["run_id"]) == []


@pytest.mark.parametrize("agent", ["claude", "codex", "opencode", "opencode-acp", "codex-asking", "pi"], indirect=True)
def test_a_real_agent_takes_its_session_up_again_after_a_failed_verify(
    there: Installation, model: ScriptedModel
) -> None:
    wrong = {"write": {"path": "greeting.py", "content": "print('hullo')\n"}}
    model.script("work", [wrong, {"text": "I chose hullo."}, *STEPS])
    there.issue("Greet the world")
    [run] = there.once(timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "in_review"
    [file] = there.get(f"/pulls/{there.pulls()[0]['number']}/files")
    assert "+print('hello, world')" in file["patch"]
    mending = [str(request.body) for request in model.requests() if "did not pass" in str(request.body)]
    assert mending
    assert all("I chose hullo." in body for body in mending)


POLICY_JUDGES = ["claude", "codex", "codex-asking", "opencode-acp", "dcode-acp"]


@pytest.mark.parametrize("agent", POLICY_JUDGES, indirect=True)
def test_the_policy_judges_every_command_of_a_real_agent(there: Installation, model: ScriptedModel, agent: str) -> None:
    configure(there, agent, shell_allow=("cat", "printf", "mkdir"))
    refused = {"shell": "env > greeting.py; python3 -c 'pass'"}
    script(model, agent, [refused, *STEPS])
    there.issue("Greet the world")
    [run] = there.once(timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "in_review"
    events = [json.loads(line) for path in there.folder.rglob("events.jsonl") for line in path.read_text().splitlines()]
    decided = [event["data"] for event in events if event["event_type"] == "policy_decided"]
    assert [(each["verdict"], each["kind"]) for each in decided] == [("deny", "command")]
    assert "python3" in decided[0]["subject"]


@pytest.mark.parametrize("agent", ["pi", "mini"], indirect=True)
def test_an_agent_that_asks_nobody_is_denied_by_the_sandbox(
    there: Installation, model: ScriptedModel, agent: str
) -> None:
    script(model, agent, [{"shell": "touch /usr/planted; cat /etc/shadow"}, *STEPS])
    there.issue("Greet the world")
    [run] = there.once(timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "in_review"
    told = "".join(str(request.body) for request in model.requests())
    assert "Read-only file system" in told
    assert "/etc/shadow: No such file" in told


@pytest.mark.parametrize("agent", ["claude", "opencode", "opencode-acp"], indirect=True)
def test_a_real_agent_whose_model_says_nothing_is_ended(there: Installation, model: ScriptedModel, agent: str) -> None:
    configure(there, agent, "agent_silence_minutes = 0.1")
    model.script("work", [{"hang": True}])
    there.issue("Greet the world")
    [run] = there.once(check=None, timeout=RUN_SECONDS)["runs"]
    assert "agent_silence_minutes" in run["reason"]
    assert left_running(run["run_id"]) == []


@pytest.mark.parametrize("agent", ["claude", "codex", "opencode"], indirect=True)
def test_a_real_agent_is_gone_with_a_stop(there: Installation, model: ScriptedModel) -> None:
    model.script("work", [{"shell": "touch here.txt; sleep 300"}, {"text": "Done."}])
    there.issue("Greet the world")
    there.run("start")
    try:
        wait_for(lambda: written(there.folder, "worktrees/alice/widget/*", "here.txt"), 120)
        [run] = there.status()["running"]
        assert left_running(run["run_id"])
    finally:
        there.run("stop", "--now")
    assert left_running(run["run_id"]) == []
    model.script("work", STEPS)
    [again] = there.once(timeout=RUN_SECONDS)["runs"]
    assert (again["run_id"], again["state"]) == (run["run_id"], "in_review")


LOOKING = [{"write": {"path": "look.py", "content": LOOK}}, {"shell": "python3 look.py"}]


def test_a_real_agent_finds_no_real_key(there: Installation, model: ScriptedModel, agent: str) -> None:
    script(model, agent, [*LOOKING, *STEPS])
    there.issue("Greet the world")
    [run] = there.once(timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "in_review"
    told = [str(request.body) for request in model.requests()]
    assert any("LOOKED [(" in body for body in told), "it did look"
    assert not any(CANARY in body for body in told)
    keys = {request.headers.get("x-api-key") or request.headers["authorization"] for request in model.requests()}
    assert keys <= {CANARY, f"Bearer {CANARY}"}
    kept = [path for path in (there.folder / ".agentd").rglob("*") if path.is_file() and path.name != "agent.sock"]
    assert [path for path in kept if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("agent", ["claude"], indirect=True)
def test_without_the_gateway_an_agent_finds_the_key(there: Installation, model: ScriptedModel) -> None:
    configure(there, "claude", "gateway.enabled = false")
    model.script("work", [*LOOKING, *STEPS])
    there.issue("Greet the world")
    there.once()
    assert any(CANARY in str(request.body) for request in model.requests()), "the look is worth something"


def test_a_real_agent_is_stopped_at_its_token_budget(there: Installation, model: ScriptedModel, agent: str) -> None:
    configure(there, agent, "budgets.run.tokens = 300_000")
    model.script("work", [{"shell": "date", "usage": {"input": 60_000, "output": 100}, "times": -1}])
    number = there.issue("Greet the world")
    [run] = there.once(check=1, timeout=RUN_SECONDS)["runs"]
    assert run["state"] == "halted"
    assert "tokens" in run["reason"]
    asked = [request for request in model.requests() if request.step is not None]
    assert 1 <= len(asked) <= 5
    assert "status:blocked" in there.labels(number)
    assert left_running(run["run_id"]) == []
