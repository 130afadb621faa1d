"""The exact command, input and files of every adapter."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import ADAPTERS, Found, adapter_of
from agentd.agents.deepagents import SHELL_ALLOW
from agentd.errors import ConfigurationError
from agentd.model import Profile

CLAUDE = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
CLAUDE += ["--permission-mode", "acceptEdits", "--allowedTools"]
CODEX = [
    "codex",
    "exec",
    "--json",
    "--sandbox",
    "workspace-write",
    "-c",
    'approval_policy="never"',
    "--skip-git-repo-check",
]
HOOK = ("/usr/bin/python3", "/run/a b/hook.py")
DCODE_ALLOW = ",".join(SHELL_ALLOW)
DCODE_REST = ["--no-mcp", "--no-interpreter", "--no-tracing", "--timeout", "601"]

ARGV: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "claude": ("claude", {}, [*CLAUDE, "Bash,Edit,Write,Read,Glob,Grep", "--setting-sources", "user"]),
    "claude, everything": (
        "claude",
        {
            "model": "sonnet",
            "shell_allow": ("ls", "git"),
            "command": ("claude", "--max-turns", "9"),
            "spec": {"resume": "s1"},
        },
        [
            *(*CLAUDE, "Bash(ls *),Bash(git *),Edit,Write,Read,Glob,Grep", "--model", "sonnet"),
            *("--setting-sources", "user", "--resume", "s1", "--max-turns", "9"),
        ],
    ),
    "claude with a hook, which judges the shell alone": (
        "claude",
        {"shell_allow": ("ls",), "spec": {"hook": HOOK}},
        [*CLAUDE, "Bash,Edit,Write,Read,Glob,Grep", "--setting-sources", "user"],
    ),
    "codex": ("codex", {}, [*CODEX, "-"]),
    "codex with a hook": (
        "codex",
        {"command": ("codex", "-c", "x=1"), "spec": {"hook": HOOK, "resume": "t1"}},
        [*CODEX, "--dangerously-bypass-hook-trust", "-c", "x=1", "resume", "t1", "-"],
    ),
    "codex, everything": (
        "codex",
        {"model": "gpt-5", "command": ("codex", "-c", "x=1"), "spec": {"resume": "t1"}},
        [*CODEX, "--model", "gpt-5", "-c", "x=1", "resume", "t1", "-"],
    ),
    "codex in agentd's sandbox": (
        "codex",
        {"spec": {"sandboxed": True}},
        [*CODEX[:4], "danger-full-access", *CODEX[5:], "-"],
    ),
    "deepagents": ("deepagents", {}, ["dcode", "--stdin", "-S", DCODE_ALLOW, *DCODE_REST]),
    "deepagents with a hook": (
        "deepagents",
        {"shell_allow": ("ls",), "spec": {"hook": HOOK}},
        ["dcode", "--stdin", "-S", "ls", *DCODE_REST],
    ),
    "deepagents, everything": (
        "deepagents",
        {"model": "openai:m", "agent": "build", "shell_allow": ("ls", "git"), "spec": {"resume": "t1"}},
        ["dcode", "--stdin", "-S", "ls,git", "--model", "openai:m", "-a", "build", *DCODE_REST, "-r", "t1"],
    ),
    "command by standard input": ("command", {"command": ("./agent.py", "-x")}, ["/w/agent.py", "-x"]),
    "command by argument": ("command", {"command": ("a",), "prompt": "argument"}, ["a", "fix it"]),
    "command by placeholder": (
        "command",
        {"command": ("a", "--p={prompt}", "-v"), "prompt": "argument"},
        ["a", "--p=fix it", "-v"],
    ),
    "command by file": ("command", {"command": ("a",), "prompt": "file"}, ["a", "/runs/r1/prompt.md"]),
    "command by file placeholder": (
        "command",
        {"command": ("a", "{prompt_file}", "-v"), "prompt": "file"},
        ["a", "/runs/r1/prompt.md", "-v"],
    ),
}


@pytest.mark.parametrize("case", ARGV)
def test_the_command_is_exactly_this(launch_of, case: str) -> None:
    adapter, fields, argv = ARGV[case]
    assert list(launch_of(adapter, **fields).argv) == argv


@pytest.mark.parametrize("case", ARGV)
def test_the_prompt_comes_by_exactly_one_way(launch_of, case: str) -> None:
    adapter, fields, _ = ARGV[case]
    launch = launch_of(adapter, **fields)
    ways = [launch.stdin == b"fix it", "fix it" in "".join(launch.argv), "fix it" in launch.files.values()]
    assert ways.count(True) == 1


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_a_found_program_is_started_by_its_full_path(launch_of, adapter: str) -> None:
    found = Found(Path("/opt/agent"), Path("/opt/real/agent"), frozenset({"--stdin"}))
    assert launch_of(adapter, command=("agent",), spec={"found": found}).argv[0] == "/opt/agent"


HOOK_FILES = {
    "claude": "/runs/r1/home/.claude/settings.json",
    "codex": "/runs/r1/home/.codex/hooks.json",
    "deepagents": "/runs/r1/home/.deepagents/hooks.json",
}


@pytest.mark.parametrize("adapter", HOOK_FILES)
def test_a_hook_is_asked_before_every_tool_call(launch_of, adapter: str) -> None:
    path = Path(HOOK_FILES[adapter])
    [entry] = json.loads(launch_of(adapter, spec={"hook": HOOK}).files[path])["hooks"]["PreToolUse"]
    [command] = entry["hooks"]
    assert (entry["matcher"], command["type"]) == ("*", "command")
    assert command["command"].startswith("/usr/bin/python3 '/run/a b/hook.py' || ")
    assert path not in launch_of(adapter).files


@pytest.mark.parametrize(
    ("hook", "status"), [(("true",), 0), (("false",), 2), (("/no/such",), 2), (("sh", "-c", "kill -9 $$"), 2)]
)
def test_a_hook_that_cannot_run_refuses(launch_of, hook: tuple[str, ...], status: int) -> None:
    [text] = launch_of("claude", spec={"hook": hook}).files.values()
    command = json.loads(text)["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == status
    # Codex takes status 2 without words for a hook that failed, and goes on.
    assert ("the policy could not be asked" in done.stderr) == (status == 2)


def test_files_are_absolute_and_outside_the_workspace(launch_of) -> None:
    for adapter, fields, _ in ARGV.values():
        for path in launch_of(adapter, **fields).files:
            assert path.is_absolute()
            assert Path("/w") not in path.parents


def test_a_codex_whose_hooks_would_not_run_is_refused(launch_of) -> None:
    found = Found(Path("/b/codex"), Path("/b/codex"), frozenset({"--json"}))
    with pytest.raises(ConfigurationError, match=r"'p'.*/b/codex knows no --dangerously-bypass-hook-trust"):
        launch_of("codex", spec={"hook": HOOK, "found": found})


@pytest.mark.parametrize(("size", "fits"), [(131_071, True), (131_072, False)])
def test_an_argument_may_be_as_long_as_the_system_takes(launch_of, size: int, fits: bool) -> None:
    fields = {"command": ("a",), "prompt": "argument", "spec": {"prompt": "p" * size}}
    if fits:
        assert len(launch_of("command", **fields).argv[1]) == size
    else:
        with pytest.raises(ConfigurationError, match=r"'p'.*131072"):
            launch_of("command", **fields)


def test_a_nul_character_cannot_be_an_argument(launch_of) -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        launch_of("command", command=("a",), prompt="argument", spec={"prompt": "a\0b"})


def test_claude_gets_its_endpoint_and_a_configuration_directory_of_its_own(launch_of) -> None:
    env = launch_of(
        "claude", {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "o"}
    ).env
    assert (env["ANTHROPIC_BASE_URL"], env["ANTHROPIC_API_KEY"]) == ("http://127.0.0.1:1", "k")
    assert env["CLAUDE_CONFIG_DIR"] == "/runs/r1/home/.claude"
    assert env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == env["DISABLE_AUTOUPDATER"] == "1"
    assert "OPENAI_API_KEY" not in env


def test_codex_gets_its_endpoint_in_its_configuration_file(launch_of) -> None:
    base = {"OPENAI_BASE_URL": 'http://127.0.0.1:1/a"b/v1', "OPENAI_API_KEY": "k"}
    launch = launch_of("codex", base)
    configuration = tomllib.loads(launch.files[Path("/runs/r1/home/.codex/config.toml")])
    assert configuration["model_provider"] == "agentd"
    assert configuration["model_providers"]["agentd"]["base_url"] == base["OPENAI_BASE_URL"]
    assert configuration["model_providers"]["agentd"]["env_key"] == "OPENAI_API_KEY"
    assert (launch.env["CODEX_HOME"], launch.env["OPENAI_API_KEY"]) == ("/runs/r1/home/.codex", "k")


def test_codex_without_a_key_keeps_its_own_provider(launch_of) -> None:
    [text] = launch_of("codex").files.values()
    assert "model_provider" not in tomllib.loads(text)


def test_deepagents_variables_of_the_first_version_are_translated(launch_of) -> None:
    base = {
        "DEEPAGENTS_AGENT": "build",
        "DEEPAGENTS_MODEL": "openai:m",
        "DEEPAGENTS_SHELL_ALLOW_LIST": "ls, git,",
        "DEEPAGENTS_LANGSMITH_PROJECT": "proj",
    }
    launch = launch_of("deepagents", base)
    argv = " ".join(launch.argv)
    assert "-S ls,git --model openai:m -a build " in argv
    assert launch.env["DEEPAGENTS_CODE_LANGSMITH_PROJECT"] == "proj"
    assert launch.env["DEEPAGENTS_CODE_OFFLINE"] == launch.env["DEEPAGENTS_CODE_NO_UPDATE_CHECK"] == "1"


def test_deepagents_profile_wins_over_the_variables(launch_of) -> None:
    base = {"DEEPAGENTS_AGENT": "a", "DEEPAGENTS_MODEL": "m", "DEEPAGENTS_SHELL_ALLOW_LIST": "rm"}
    argv = launch_of("deepagents", base, agent="b", model="n", shell_allow=("ls",)).argv
    assert argv[2:8] == ("-S", "ls", "--model", "n", "-a", "b")


@pytest.mark.parametrize("allowed", ["", " , ,", None])
def test_deepagents_always_has_a_shell(launch_of, allowed: str | None) -> None:
    base = {} if allowed is None else {"DEEPAGENTS_SHELL_ALLOW_LIST": allowed}
    argv = launch_of("deepagents", base).argv
    assert argv[argv.index("-S") + 1].split(",") == list(SHELL_ALLOW)
    assert len(set(SHELL_ALLOW)) == 21


def test_deepagents_all_must_stand_alone(launch_of) -> None:
    assert "all" in launch_of("deepagents", shell_allow=("all",)).argv
    with pytest.raises(ConfigurationError, match=r"'p'.*ls,all.*alone"):
        launch_of("deepagents", shell_allow=("ls", "all"))


@pytest.mark.parametrize(
    ("base", "tracing"),
    [
        ({}, False),
        ({"LANGSMITH_API_KEY": "k"}, False),
        ({"LANGCHAIN_TRACING": "true"}, False),
        ({"LANGSMITH_API_KEY": "k", "LANGCHAIN_TRACING": "true"}, True),
    ],
)
def test_deepagents_traces_only_with_a_key_and_a_switch(launch_of, base: dict[str, str], tracing: bool) -> None:
    launch = launch_of("deepagents", base)
    assert ("--no-tracing" not in launch.argv) == tracing
    assert ("LANGSMITH_API_KEY" in launch.env) == tracing


def test_an_early_deepagents_gets_only_what_it_knows(launch_of) -> None:
    found = Found(Path("/b/deepagents"), Path("/b/deepagents"), frozenset({"--non-interactive", "--shell-allow-list"}))
    launch = launch_of("deepagents", spec={"found": found})
    assert launch.argv == ("/b/deepagents", "-n", "fix it", "-S", DCODE_ALLOW)
    assert launch.stdin is None


def test_an_unknown_adapter_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'p'.*'gpt'.*claude, codex, command, deepagents"):
        adapter_of(Profile(name="p", adapter="gpt"))


def test_a_command_profile_without_a_command_is_refused(launch_of) -> None:
    with pytest.raises(ConfigurationError, match="'p' has no command"):
        launch_of("command")
