"""The main path with the built-in agent in the sandbox, its model played by the practice model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.practice.model import PER_PROMPT, ScriptedModel
from tests.e2e.conftest import Installation

STEPS: list[dict[str, Any]] = [
    {"shell": "cat README.md"},
    {"write": {"path": "greeting.py", "content": "print('hello, world')\n"}},
    {"shell": "python3 greeting.py; touch /refused; env; ls /"},
    {
        "call": {
            "name": "report",
            "input": {
                "summary": "greeting.py prints the greeting.",
                "files_changed": ["greeting.py"],
                "commands_verified": ["python3 greeting.py"],
            },
        }
    },
]
VERIFY = "python3 greeting.py | grep -qx 'hello, world'"


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


@pytest.fixture(params=["anthropic", "openai"])
def there(request: pytest.FixtureRequest, here: Installation, model: ScriptedModel) -> Installation:
    """An installation whose only profile is the built-in agent."""
    base = model.base_url(PER_PROMPT, "work")
    model.script("work", STEPS)
    here.environ |= {
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": "practice-key",
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": "practice-key",
    }
    (here.folder / "agentd.toml").write_text(
        f"verify_command = {json.dumps(VERIFY)}\nmax_fix_rounds = 1\n"
        f'[profiles.build]\nadapter = "builtin"\nmodel = "{request.param}:practice"\n'
    )
    return here


def told(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The agent's lines in the run's log."""
    lines = Path(run["log_path"]).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"type"')]


def test_a_labelled_issue_becomes_a_pull_request_by_the_built_in_agent(
    there: Installation, model: ScriptedModel
) -> None:
    number = there.issue("Greet the world", "greeting.py must print the greeting.")
    [run] = there.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    [pull] = there.pulls()
    [file] = there.get(f"/pulls/{pull['number']}/files")
    assert (file["filename"], file["status"]) == ("greeting.py", "added")
    assert there.labels(number) == {"agent-ready", "status:in-review"}
    assert any("greeting.py must print the greeting." in str(request.body) for request in model.requests())
    lines = told(run)
    assert lines[0]["type"] == "started" and lines[-1]["type"] == "final_report"
    seen = [line["data"]["output"] for line in lines if line["type"] == "tool_result"][2]
    assert "hello, world" in seen and "Read-only" in seen and "practice-key" not in seen
    assert "workspace" in seen and "root\n" not in seen.split("PATH=")[0]


def test_its_session_goes_on_after_a_failed_verify(there: Installation, model: ScriptedModel) -> None:
    wrong = {"write": {"path": "greeting.py", "content": "print('hullo')\n"}}
    model.script("work", [wrong, {"text": "I chose hullo."}, *STEPS])
    there.issue("Greet the world")
    [run] = there.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    mending = [str(request.body) for request in model.requests() if "did not pass" in str(request.body)]
    assert mending and all("I chose hullo." in body for body in mending)


@pytest.mark.parametrize("there", ["anthropic"], indirect=True)
def test_its_commands_are_judged_by_the_policy(there: Installation, model: ScriptedModel) -> None:
    with (there.folder / "agentd.toml").open("a") as file:
        file.write('shell_allow = ["cat", "ls"]\n')
    there.issue("Greet the world")
    [run] = there.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    assert [line["data"]["denied"] for line in told(run) if line["type"] == "tool_result"] == [
        False,
        False,
        True,
        False,
    ]
    events = (there.folder / ".agentd" / "logs" / "events.jsonl").read_text()
    assert "policy_decided" in events and "touch /refused" in events
