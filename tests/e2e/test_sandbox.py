"""Runs in their sandbox, from label to pull request: what an agent cannot do, what ends it, and what is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Installation

CANARY = "canary-9b2e"
WITHOUT = "without a sandbox"
PRYING = """
import os, pathlib, socket, subprocess, sys, urllib.request
prompt = sys.stdin.read()
seen = []
for place in (%r, %r):
    try:
        seen.append(pathlib.Path(place).read_text().replace("\\0", " "))
    except OSError as error:
        seen.append(type(error).__name__)
try:
    socket.create_connection(("127.0.0.1", %d), 2)
    seen.append("connected")
except OSError as error:
    seen.append(type(error).__name__)
try:
    urllib.request.urlopen("https://evil.example/", timeout=5)
except OSError as error:
    seen.append(str(error))
try:
    pathlib.Path(%r).write_text("x")
    seen.append("written")
except OSError as error:
    seen.append(type(error).__name__)
if "not accepted" in prompt:
    os.unlink("report.txt")
else:
    os.symlink(%r, "report.txt")
subprocess.Popen(["sleep", "86399.25"], start_new_session=True)
pathlib.Path("done.txt").write_text("\\n".join(seen))
"""


def events(here: Installation, kind: str) -> list[dict[str, object]]:
    lines = (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event_type"] == kind]


def patch_of(here: Installation, name: str) -> str:
    [pull] = here.pulls()
    [row] = [row for row in here.get(f"/pulls/{pull['number']}/files") if row["filename"] == name]
    return str(row["patch"])


def prying(here: Installation) -> Path:
    """An agent that looks around; what it must not read."""
    secret = here.folder / ".ssh" / "id"
    secret.parent.mkdir()
    secret.write_text(CANARY)
    port = int(here.hub.url.rpartition(":")[2])
    # Not below /tmp: inside, that is the run's own.
    outside = Path(f"/var/tmp/agentd-outside-{os.getpid()}")
    here.agent(PRYING % (str(secret), f"/proc/{os.getpid()}/environ", port, str(outside), str(secret)))
    return outside


def test_an_agent_that_looks_around_finds_nothing_and_its_work_comes_back(here: Installation) -> None:
    outside = prying(here)
    here.configure(verify="test -f done.txt")
    with (here.folder / "agentd.toml").open("a") as file:
        file.write('hosts = ["registry.example"]\n')
    here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    found = patch_of(here, "done.txt")
    assert CANARY not in found and "connected" not in found and "written" not in found and not outside.exists()
    assert "403" in found
    assert "report.txt" not in {row["filename"] for row in here.get(f"/pulls/{here.pulls()[0]['number']}/files")}
    network, diff, again = (json.dumps(event["data"]) for event in events(here, "policy_decided"))
    assert "evil.example:443" in network and "report.txt -> " in diff and "evil.example:443" in again
    assert "86399.25" not in subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout


def test_without_the_sandbox_the_same_agent_finds_it_all_and_every_surface_says_so(here: Installation) -> None:
    outside = prying(here)
    here.configure('sandbox = "none"', verify="test -f done.txt")
    number = here.issue()
    said = here.run("once")
    try:
        assert CANARY in patch_of(here, "done.txt") and outside.exists()
    finally:
        outside.unlink(missing_ok=True)
    assert WITHOUT in said.lower()
    assert WITHOUT in here.pulls()[0]["body"] and WITHOUT in here.stickies(number)[0]
    assert WITHOUT in here.run("status").lower()
    assert here.status()["sandbox"] == "none"
    [run] = json.loads(here.run("runs", "list", "--json"))
    assert json.loads(here.run("runs", "show", run["run_id"], "--json"))["sandbox"] == "none"
    assert [event["data"]["sandbox"] for event in events(here, "agent_started")] == ["none", "none"]  # type: ignore[index]
    assert "[WARN] Sandbox: sandbox = none" in here.run("doctor", "--strict")


def test_with_the_sandbox_nothing_says_otherwise(here: Installation) -> None:
    number = here.issue()
    assert WITHOUT not in here.run("once").lower()
    assert WITHOUT not in here.pulls()[0]["body"] and WITHOUT not in here.stickies(number)[0]
    assert [check["level"] for check in here.doctor("--strict") if check["code"] == "sandbox.holds"] == ["ok"]


def without_user_namespaces(here: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    """agentd where the kernel refuses user namespaces: the limit is a namespace's own, and this one has none left."""
    command = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", command, "sh", sys.executable, "-m", "agentd"]
    return subprocess.run(
        [*argv, *arguments], cwd=here.folder, env=here.environ, capture_output=True, text=True, timeout=60
    )


def test_where_no_sandbox_can_be_made_nothing_is_dispatched_and_the_doctor_says_why(here: Installation) -> None:
    number = here.issue()
    done = without_user_namespaces(here, "once", "--json")
    found = json.loads(done.stdout)
    [planned] = found["plan"]
    assert found["runs"] == [] and planned["rule_id"] == "host_closed"
    assert "sandbox does not hold" in planned["reason"] and "max_user_namespaces" in planned["reason"]
    assert here.labels(number) == {"agent-ready", "status:todo"} and here.pulls() == []
    told = without_user_namespaces(here, "doctor", "--format", "json", "--schema", "2", "--strict")
    [check] = [check for check in json.loads(told.stdout)["checks"] if check["code"] == "sandbox.holds"]
    assert told.returncode == 1 and check["level"] == "fail"
    assert check["remediation"] == "sudo sysctl -w user.max_user_namespaces=10000"
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


@pytest.mark.parametrize(
    ("setting", "source", "said"),
    [
        ("max_memory_mib = 150", "b = bytearray(600 << 20); import time; time.sleep(60)", "memory: "),
        (
            "max_disk_mib = 50",
            "import time\nfor i in range(600): open(f'f{i}', 'wb').write(bytes(1 << 20)); time.sleep(0.01)",
            "disk: ",
        ),
        ("max_cpu_minutes = 0.01", "while True: pass", "cpu: "),
    ],
    ids=["memory", "disk", "cpu"],
)
def test_an_agent_that_takes_too_much_is_ended_and_the_issue_says_which_limit(
    here: Installation, setting: str, source: str, said: str
) -> None:
    here.agent(source)
    here.configure(setting)
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "halted" and said in run["reason"]
    assert said in here.stickies(number)[0] and "status:blocked" in here.labels(number)


def test_secrets_are_in_no_log_no_comment_and_no_pull_request(here: Installation) -> None:
    key = "sk-practice-" + "7" * 30
    here.agent(
        "import os, sys\nopen('done.txt', 'w').write('x')\n"
        "print(os.environ['MODEL_API_KEY']); print(os.environ['MODEL_API_KEY'], file=sys.stderr)\n"
    )
    here.configure(verify=f"echo {key}; test -f done.txt")
    with (here.folder / "agentd.toml").open("a") as file:
        file.write('pass_env = ["MODEL_API_KEY"]\n')
    number = here.issue()
    here.once(MODEL_API_KEY=key)
    [pull] = here.pulls()
    assert "***REDACTED***" in pull["body"] and key not in pull["body"].replace(f"echo {key}", "")
    assert key not in here.stickies(number)[0]
    logs = [path for path in (here.folder / ".agentd").rglob("*") if path.is_file() and "mirrors" not in path.parts]
    holding = [path.name for path in logs if key.encode() in path.read_bytes().replace(f"echo {key}".encode(), b"")]
    assert holding == []
    assert any(b"***REDACTED***" in path.read_bytes() for path in logs if path.suffix == ".log")
