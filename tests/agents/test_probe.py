"""A program is told by what it can do, not by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.agents import ADAPTERS
from agentd.errors import ConfigurationError

HELP = {
    "claude": "-p, --print --output-format --permission-mode --allowedTools, --allowed-tools --setting-sources",
    "codex": "--json -s, --sandbox <MODE> -c, --config <key=value>",
    "codex-app-server": "-c, --config <key=value> --listen <URL>",
    "opencode": "--pure  --format  -s, --session",
    "deepagents": "-n, --non-interactive MSG  -S, --shell-allow-list LIST --stdin --interpreter, --no-mcp",
}
NAME = {
    "claude": "claude",
    "codex": "codex",
    "codex-app-server": "codex",
    "opencode": "opencode",
    "deepagents": "dcode",
}


def program(folder: Path, name: str, help_text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{help_text}'\n")
    path.chmod(0o755)
    return path


def env(*folders: Path) -> dict[str, str]:
    return {"PATH": ":".join(map(str, (*folders, "/usr/bin", "/bin")))}


@pytest.mark.parametrize("adapter", HELP)
def test_the_program_on_path_is_found(tmp_path: Path, adapter: str) -> None:
    path = program(tmp_path, NAME[adapter], HELP[adapter])
    found = ADAPTERS[adapter].probe(None, env(tmp_path))
    assert found.path == path
    assert found.options


@pytest.mark.parametrize("adapter", HELP)
def test_a_program_that_only_shares_the_name_is_refused(tmp_path: Path, adapter: str) -> None:
    program(tmp_path, NAME[adapter], "usage: comics --serve")
    with pytest.raises(ConfigurationError, match=f"{NAME[adapter]} is not the agent .* install "):
        ADAPTERS[adapter].probe(None, env(tmp_path))


@pytest.mark.parametrize("adapter", HELP)
def test_a_missing_program_is_named_with_what_to_install(tmp_path: Path, adapter: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no program {NAME[adapter]}.* on PATH.*install"):
        ADAPTERS[adapter].probe(None, {"PATH": str(tmp_path)})


def test_a_deepagents_without_the_agent_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "deepagents-code", "usage: deploy --region")
    agent = program(tmp_path, "deepagents", HELP["deepagents"])
    found = ADAPTERS["deepagents"].probe(None, env(tmp_path))
    assert found.path == agent
    assert "--no-interpreter" in found.options


def test_the_help_is_asked_without_agentds_secrets(tmp_path: Path) -> None:
    path = tmp_path / "codex"
    path.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\necho --json --sandbox --config\n")
    path.chmod(0o755)
    ADAPTERS["codex"].probe(None, env(tmp_path) | {"EXECUTOR_BOT_TOKEN": "secret"})
    assert "secret" not in (tmp_path / "seen").read_text()


def test_a_link_keeps_its_name_and_tells_where_it_leads(tmp_path: Path) -> None:
    real = program(tmp_path, "real", HELP["codex"])
    (tmp_path / "codex").symlink_to(real)
    found = ADAPTERS["codex"].probe(None, env(tmp_path))
    assert (found.path, found.real_path) == (tmp_path / "codex", real)


def test_a_commands_program_must_be_there_unless_the_workspace_brings_it(tmp_path: Path) -> None:
    probe = ADAPTERS["command"].probe
    path = program(tmp_path, "my-agent", "")
    assert probe("my-agent", env(tmp_path)).path == path
    assert probe(str(path), env()).path == path
    assert probe("./agent.py", env()).path == Path("agent.py")
    with pytest.raises(ConfigurationError, match="no program not-there"):
        probe("not-there", env(tmp_path))
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="my-agent"):
        probe("my-agent", env(tmp_path))
    with pytest.raises(ConfigurationError, match="needs a command"):
        probe(None, env())
