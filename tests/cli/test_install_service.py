"""Files for services: systemd takes the unit, cron's lines are commands that exist, and nothing is overwritten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentd.cli import app
from agentd.errors import ConfigurationError
from tests.test_docs import commands_in, complaint


def install(folder: Path, *arguments: str, **environ: str) -> str:
    environment = {"HOME": str(folder), "REPO": "alice/widget", "XDG_CONFIG_HOME": str(folder / "config"), **environ}
    environment |= {"AGENT_STATE_DIR": str(folder / "state"), "AGENT_LOG_DIR": str(folder / "logs")}
    done = CliRunner(env=environment).invoke(app, ["install-service", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze says whether a unit is right")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "agentd.service"
    unit.write_text(install(tmp_path, "--print"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert str(unit) not in done.stderr, done.stderr
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KilMode=mixed"))
    again = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "KilMode" in again.stderr, "the check can fail"


def test_the_lines_for_cron_are_commands_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = install(tmp_path, "cron", "--print")
    lines = [line for line in text.splitlines() if line[:1] in "0123456789*"]
    assert len(lines) == 3
    found = [words for line in lines for words in commands_in(f"```cron\n{line}\n```\n")]
    assert [words[0] for words in found] == ["once", "doctor", "clean"]
    assert [complaint(words) for words in found] == ["", "", ""]
    for line in lines:
        checked = subprocess.run(["bash", "-n", "-c", line.split("  ", 1)[1]], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_logs_are_rotated_but_not_those_that_are_made_from_the_store(tmp_path: Path) -> None:
    text = install(tmp_path, "logrotate", "--print")
    assert f"{tmp_path}/logs/supervisor.log {{" in text and "copytruncate" in text
    assert "events.jsonl {" not in text


def test_a_unit_is_written_once_and_never_over_another(tmp_path: Path) -> None:
    said = install(tmp_path)
    [unit] = (tmp_path / "config" / "systemd" / "user").iterdir()
    assert unit.name == "agentd-alice-widget.service" and f"enable --now {unit.name}" in said
    assert install(tmp_path) == said
    unit.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there and differs"):
        install(tmp_path)
    assert unit.read_text() == "mine"


@pytest.mark.parametrize("arguments", [("--print",), ("--dry-run",), ("cron", "--print"), ("logrotate", "--print")])
def test_printing_writes_nothing_and_tells_no_secret(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    text = install(tmp_path, *arguments, EXECUTOR_BOT_TOKEN="ghp_canary7f3a9c1e5b2d")
    assert "canary" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_service_has_the_programs_and_settings_of_the_caller_and_none_of_the_secrets(tmp_path: Path) -> None:
    environ = {
        "PATH": f"{tmp_path}/bin:relative:/usr/bin:/usr/bin",
        "BASE_BRANCH": 'odd"%h\\',
        "AGENTD_DATABASE_URL": "postgresql+psycopg://agentd:canary@db/agentd",
        "EXECUTOR_BOT_TOKEN": "ghp_canary7f3a9c1e5b2d",
    }
    unit, cron = install(tmp_path, "--print", **environ), install(tmp_path, "cron", "--print", **environ)
    path = f"PATH={Path(sys.executable).parent}:{tmp_path}/bin:/usr/bin"
    assert f'\nEnvironment="{path}"\n' in unit and f"\n{path}\n" in cron
    assert '\nEnvironment="REPO=alice/widget"\n' in unit and "\nREPO=alice/widget\n" in cron
    assert f'Environment="AGENT_STATE_DIR={tmp_path}/state"' in unit
    assert 'Environment="BASE_BRANCH=odd\\"%%h\\\\"\n' in unit and '\nBASE_BRANCH=odd"%h\\\n' in cron
    assert "canary" not in unit + cron


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PATH": "/usr/bin:/ghp_canary7f3a9c1e5b2d", "MY_TOKEN": "ghp_canary7f3a9c1e5b2d"}, "PATH: holds a secret"),
        ({"PATH": "/usr/bin:/a\nExecStart=/bin/sh"}, "PATH: .* line break"),
    ],
)
def test_a_variable_that_no_file_may_hold_is_named(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        install(tmp_path, "--print", **environ)


@pytest.mark.parametrize("kind", ["cron", "logrotate"])
def test_what_is_only_printed_says_so(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="is only printed"):
        install(tmp_path, kind)


def test_a_path_that_a_unit_cannot_name_is_refused(tmp_path: Path) -> None:
    strange = tmp_path / "a b"
    strange.mkdir()
    before = Path.cwd()
    os.chdir(strange)
    try:
        with pytest.raises(ConfigurationError, match="cannot name a path with blanks"):
            install(tmp_path, "--print")
    finally:
        os.chdir(before)


@pytest.mark.skipif(shutil.which("man") is None, reason="man reads the page")
def test_the_man_page_can_be_read() -> None:
    page = Path(__file__).parents[2] / "docs" / "agentd.1"
    done = subprocess.run(
        ["man", "--warnings", "-l", str(page)],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0 and "agentd doctor" in done.stdout and "--changed-since" in done.stdout
    assert "warning" not in done.stderr, done.stderr


def test_shells_can_complete_commands(tmp_path: Path) -> None:
    environ = {"_AGENTD_COMPLETE": "complete_bash", "COMP_WORDS": "agentd doc", "COMP_CWORD": "1"}
    done = CliRunner(env=environ).invoke(app, [], prog_name="agentd")
    assert done.output.split() == ["doctor"]
