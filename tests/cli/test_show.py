"""What is printed of agents and of settings: nothing that steers a terminal, no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentd.agents import events
from agentd.cli import app
from agentd.cli.show import describe

STEERING = "x\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\u202ey"


@pytest.mark.parametrize(
    "event",
    [
        STEERING,
        events.Text(text=STEERING),
        events.ToolCall(id="1", name=STEERING, kind="shell", input={STEERING: STEERING}),
        events.ToolResult(id="1", ok=False, output=STEERING),
        events.Denied(id="1", reason=STEERING),
        events.Error(kind="failed", message=STEERING),
    ],
    ids=lambda event: type(event).__name__,
)
def test_no_word_of_an_agent_steers_the_terminal(event: events.AgentEvent | str) -> None:
    shown = describe(event)
    assert "x" in shown
    assert shown.isprintable()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_secret_of_the_settings_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    (tmp_path / "agentd.toml").write_text(
        'repo = "a/b"\nverify_command = "true"\n'
        '[lockfiles.env]\nNPM_TOKEN = "npm-first-hidden"\nPLAIN = "second-hidden"\n'
        '[profiles.build]\nadapter = "command"\ncommand = ["true"]\nenv = { NAME = "third-hidden" }\n'
    )
    monkeypatch.chdir(tmp_path)
    environ = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "EXECUTOR_BOT_TOKEN": "ghp_fourth-hidden",
        "AGENTD_DATABASE_URL": "postgresql+psycopg://u:fifth-hidden@h/db",
    }
    done = CliRunner(env=dict.fromkeys(os.environ) | environ).invoke(app, ["config", "show", *form])
    assert done.exit_code == 0, done.output
    assert "NPM_TOKEN" in done.output
    assert "hidden" not in done.output
    assert "@h/db" in done.output


def test_a_password_that_is_a_word_of_other_settings_hides_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agentd.toml").write_text('verify_command = "true"\n')
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path), "REPO": "a/widget", "AGENTD_DATABASE_URL": "postgresql://u:widget@h/db"}
    done = CliRunner(env=dict.fromkeys(os.environ) | environ).invoke(app, ["config", "show"])
    assert "a/widget" in done.output
    assert "u:widget@" not in done.output
