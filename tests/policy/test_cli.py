from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

AGENTD = [sys.executable, "-m", "agentd", "policy", "check"]


def check(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env}
    return subprocess.run([*AGENTD, *arguments], capture_output=True, text=True, env=environ, timeout=60)


@pytest.mark.parametrize(("command", "verdict"), [("ls && git status", "allow"), ("ls; curl x", "deny")])
def test_the_exit_status_and_the_json_say_the_verdict(command: str, verdict: str) -> None:
    done = check(command, "--json")
    assert done.returncode == (0 if verdict == "allow" else 1)
    answer = json.loads(done.stdout)
    assert set(answer) == {"verdict", "reason"} and answer["verdict"] == verdict


def test_a_program_may_wait_for_each_answer() -> None:
    with subprocess.Popen([*AGENTD, "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        verdicts = []
        for line in ('"ls"', '"curl x"', "no json", "7", '"ls\\u0000"', '"pwd"'):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            verdicts.append(json.loads(process.stdout.readline())["verdict"])
        process.stdin.close()
    assert verdicts == ["allow", "deny", "deny", "deny", "deny", "allow"]
    assert process.returncode == 0


def test_the_list_comes_from_the_environment_and_all_is_refused() -> None:
    assert check("git status", DEEPAGENTS_SHELL_ALLOW_LIST="ls,cat").returncode == 1
    assert check("wc -l a", DEEPAGENTS_SHELL_ALLOW_LIST="recommended").returncode == 0
    refused = check("ls", DEEPAGENTS_SHELL_ALLOW_LIST="all")
    assert refused.returncode == 1 and "'all', which would check nothing" in refused.stderr
    assert check("[ -f a ]", "--no-inert").returncode == 1


@pytest.mark.parametrize("arguments", [(), ("ls", "--stdin"), ("ls", "--shell", "fish"), ("ls", "--workspace", "here")])
def test_wrong_use_is_an_error(arguments: tuple[str, ...]) -> None:
    done = check(*arguments)
    assert done.returncode != 0 and done.stderr and not done.stdout
