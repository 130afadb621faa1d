"""An agent's models behind the gateway: it finds no real key, and what it uses is metered, limited and waited for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.practice import PracticeGitHub
from agentd.practice.model import ScriptedModel
from tests.e2e.conftest import Installation, environment

CANARY = "sk-canary-5d41402abc4b2a76b9719d911017c592"
AGENT = """
import json, os, subprocess, sys, urllib.request
prompt = sys.stdin.read()
look = "env; cat /proc/[0-9]*/environ | tr '\\\\0' '\\\\n'"
seen = subprocess.run(["sh", "-c", look], capture_output=True, text=True).stdout
print("SEEN", json.dumps([seen, dict(os.environ)]))
parameters = {{"type": "object", "properties": {{"command": {{"type": "string"}}}}}}
tools = [{{"type": "function", "function": {{"name": "bash", "parameters": parameters}}}}]
message = {{"role": "user", "content": prompt}}
for number in range({calls}):
    body = {{"model": "practice-1", "messages": [message], "tools": tools, "max_tokens": 100}}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as refused:
        print(refused.code, dict(refused.headers), refused.read().decode(), flush=True)
        {refused}
open("done.txt", "w").write("done")
"""
"""Asks its model `calls` times through whatever it finds in its environment."""


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


@pytest.fixture(params=["required", "none"])
def there(request: pytest.FixtureRequest, hub: PracticeGitHub, model: ScriptedModel, tmp_path: Path) -> Installation:
    """Two profiles that share a key; the agent is a program that knows its service by variables."""
    folder = tmp_path / "home"
    folder.mkdir()
    environ = environment(folder, hub, hub.add_token("agentd-bot")) | {
        "OPENAI_BASE_URL": model.base_url("run", "work") + "/v1",
        "OPENAI_API_KEY": CANARY,
    }
    made = Installation(hub, folder, environ)
    made.settings["sandbox"] = request.param
    agent(made)
    return made


def agent(there: Installation, calls: int = 3, refused: str = "sys.exit(1)", budgets: str = "") -> None:
    """Let the agent ask so often, and do so much when it is refused."""
    there.agent(AGENT.format(calls=calls, refused=refused))
    command = json.dumps(["python3", str(there.folder / "agent.py")])
    profile = f'adapter = "command"\ncommand = {command}\nmodel = "practice-1"\npass_env = ["OPENAI_API_KEY"]\n'
    (there.folder / "agentd.toml").write_text(
        f'verify_command = "sh check.sh"\nsandbox = "{there.settings["sandbox"]}"\nprofile = "build"\n'
        f"{budgets}\n[profiles.build]\n{profile}\n[profiles.other]\n{profile}\n"
    )


def rows(there: Installation, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(there.folder / ".agentd" / "state" / "agentd.db") as store:
        return store.execute(query).fetchall()


def test_a_run_is_metered_and_its_agent_sees_no_real_key(there: Installation, model: ScriptedModel) -> None:
    model.script("work", [{"text": "Done.", "usage": {"input": 1000, "output": 50, "cached": 200}, "times": -1}])
    there.issue()
    [run] = there.once()["runs"]
    assert run["state"] == "in_review"
    log = Path(run["log_path"]).read_text()
    assert "SEEN" in log
    assert "http://127.0.0.1:" in log
    assert {request.headers["authorization"] for request in model.requests()} == {f"Bearer {CANARY}"}
    used = rows(there, "select input_tokens, output_tokens, cached_tokens, estimated from spend order by 1")
    assert used == [(1000, 50, 200, 0)] * 3
    shown = json.loads(there.run("runs", "show", run["run_id"], "--json"))
    assert shown["models"] == {"calls": 3, "tokens": 3150, "usd": None}
    assert "3 calls, 3150 tokens" in there.run("runs", "show", run["run_id"])
    for path in (there.folder / ".agentd").rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    if there.settings["sandbox"] == "required":
        seen = json.loads(log.split("SEEN ", 1)[1].splitlines()[0])
        assert CANARY not in str(seen)


def test_a_run_ends_at_its_budget_whatever_its_agent_does(there: Installation, model: ScriptedModel) -> None:
    model.script("work", [{"text": "And again.", "times": -1}])
    agent(there, calls=1000, refused="import time; time.sleep(0.05)", budgets="[budgets]\nrun = {calls = 5}")
    number = there.issue()
    [run] = there.once(check=1)["runs"]
    assert run["state"] == "halted"
    assert "5" in run["reason"]
    assert len(model.requests()) == 5
    [comment] = there.stickies(number)
    assert "budget" in comment
    assert "calls" in comment
    assert "status:blocked" in there.labels(number)


@pytest.mark.parametrize(
    ("limit", "rule", "held"),
    [
        ("day", "budget_day_calls", ["profile:build", "profile:other"]),
        ("global", "budget_global_calls", ["profile:build", "profile:other"]),
        ("profile", "budget_profile_calls", ["profile:build"]),
    ],
)
def test_a_budget_that_others_share_makes_them_wait_and_blocks_no_task(
    there: Installation, model: ScriptedModel, limit: str, rule: str, held: list[str]
) -> None:
    model.script("work", [{"text": "And again.", "times": -1}])
    agent(there, calls=1000, budgets=f"budgets.{limit}.calls = 5")
    number = there.issue()
    [run] = there.once(check=1)["runs"]
    assert run["state"] == "failed_retry"
    assert "5 calls" in run["reason"]
    assert len(model.requests()) == 5
    assert "status:todo" in there.labels(number)
    assert rows(there, "select scope, rule_id from holds where scope like 'profile:%' order by scope") == [
        (scope, rule) for scope in held
    ]
    assert rows(there, "select count(*) from attempts where cleared = 0") == [(0,)]
    assert there.once()["runs"] == []
    assert rule in there.run("once", "--dry-run")


def test_a_used_up_quota_holds_every_profile_of_the_key_and_costs_no_attempt(
    there: Installation, model: ScriptedModel
) -> None:
    model.script("work", [{"status": 429, "retry_after": 3600, "times": -1}])
    agent(there, calls=1000, refused="import time; time.sleep(0.05)")
    there.issue()
    other = there.issue(labels=["profile:other"])
    first = there.once(check=1)
    assert {run["state"] for run in first["runs"]} == {"failed_retry"}
    assert rows(there, "select scope, rule_id from holds where rule_id = 'model_quota' order by scope") == [
        ("profile:build", "model_quota"),
        ("profile:other", "model_quota"),
    ]
    assert rows(there, "select count(*) from attempts where cleared = 0") == [(0,)]
    asked = len(model.requests())
    assert there.once()["runs"] == []
    assert len(model.requests()) == asked
    assert "status:todo" in there.labels(other)


def test_a_refused_key_is_told_as_what_it_is(there: Installation, model: ScriptedModel) -> None:
    model.script("work", [{"status": 401, "times": -1}])
    agent(there, calls=2)
    number = there.issue()
    [run] = there.once(check=1)["runs"]
    assert run["state"] == "failed"
    assert "refuses the credential" in run["reason"]
    assert CANARY not in "".join(there.stickies(number))


def services(there: Installation, **environ: str) -> dict[str, str]:
    """What the doctor says of models: status by what was looked at."""
    found = there.doctor(**environ)
    return {check["code"]: check["level"] for check in found if check["code"] in ("gateway.enabled", "gateway.service")}


def test_the_doctor_looks_for_the_service_of_each_profile(there: Installation) -> None:
    assert services(there) == {"gateway.enabled": "ok", "gateway.service": "ok"}
    nobody = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
    assert services(there, **nobody) == {"gateway.enabled": "ok", "gateway.service": "fail"}
    assert "OPENAI_API_KEY" in there.run("doctor", "--strict", check=1, **nobody)
    assert services(there, OPENAI_BASE_URL="ftp://x") == {"gateway.enabled": "ok", "gateway.service": "fail"}
    agent(there, budgets="gateway.enabled = false")
    assert services(there) == {"gateway.enabled": "warn"}


def test_a_profile_may_bring_its_own_service_and_its_agent_does_not_see_that_key(
    there: Installation, model: ScriptedModel
) -> None:
    model.script("work", [{"text": "Done.", "times": -1}])
    agent(there, calls=1)
    own = json.dumps({"OPENAI_BASE_URL": model.base_url("own", "work") + "/v1", "OPENAI_API_KEY": CANARY + "-own"})
    settings = there.folder / "agentd.toml"
    settings.write_text(settings.read_text() + f"env = {own.replace(': ', ' = ')}\n")
    there.issue(labels=["profile:other"])
    [run] = there.once()["runs"]
    assert run["state"] == "in_review"
    [request] = model.requests("own")
    assert request.headers["authorization"] == f"Bearer {CANARY}-own"
    if there.settings["sandbox"] == "required":
        assert CANARY not in Path(run["log_path"]).read_text()
