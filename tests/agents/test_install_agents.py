"""scripts/install-agents on a machine that cannot run an agent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-agents"


def install(folder: Path, *agents: str) -> subprocess.CompletedProcess[str]:
    """The script where nothing is on PATH but what it needs itself."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("dirname", "mkdir"):
        (programs / name).symlink_to(str(shutil.which(name)))
    env = {"PATH": str(programs), "HOME": str(folder), "AGENTD_AGENTS_DIR": str(folder / "agents")}
    return subprocess.run([str(shutil.which("bash")), str(SCRIPT), *agents], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("agent", "reason"), [("deepagents", r"CPython 3.12 to 3.13"), ("mini", "CPython 3.10"), ("opencode", "npm is not")]
)
def test_an_agent_that_cannot_be_installed_is_skipped_with_the_reason_and_counted(
    tmp_path: Path, agent: str, reason: str
) -> None:
    done = install(tmp_path, agent)
    assert done.returncode == 0
    assert f"skipped {agent}: " in done.stderr
    assert reason in done.stderr
    assert "0 of 1 agents installed" in done.stderr


def test_an_unknown_agent_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    done = install(tmp_path, "pi", "gpt")
    assert done.returncode == 2
    assert "unknown agent 'gpt'; known are: claude codex opencode deepagents pi mini" in done.stderr
    assert not (tmp_path / "agents").exists()
