"""Runs in each layout, from label to pull request: the same work comes back, and what lies where is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Installation

REFACTORING = """
import os, pathlib, sys
sys.stdin.read()
if os.path.exists("README.md"):
    os.unlink("README.md")
    os.rename("check.sh", "verify.sh")
    os.chmod("verify.sh", 0o755)
    os.mkdir("src")
turn = len(list(pathlib.Path(os.environ["HOME"]).glob("turn-*")))
(pathlib.Path(os.environ["HOME"]) / f"turn-{turn}").touch()
pathlib.Path("src/new.py").write_text(f"turn = {turn}\\n")
if turn:
    pathlib.Path("done.txt").write_text("done")
"""


def record(here: Installation) -> dict[str, Any]:
    [path] = (here.folder / ".agentd" / "state" / "runs").glob("*/workspace.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("setting", ["", 'layout = "overlay"', 'layout = "clone"'], ids=["auto", "overlay", "clone"])
def test_two_turns_with_a_failed_verify_between_them_become_one_pull_request(here: Installation, setting: str) -> None:
    here.agent(REFACTORING)
    here.configure(setting, verify="touch left-by-verify; test -f done.txt && test ! -e README.md && test -x verify.sh")
    here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    [pull] = here.pulls()
    files = {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")}
    assert files - {"check.sh"} == {"README.md", "verify.sh", "src/new.py", "done.txt"}
    known = record(here)
    place = Path(known["path"])
    assert known["layout"] == ("clone" if "clone" in setting else "overlay")
    assert (place / "upper").is_dir() == (place / "agentd-workspace.json").is_file() == ("clone" not in setting)
    assert (place / ".gitignore").exists() == ("clone" in setting)


def test_an_overlay_that_cannot_be_had_holds_dispatch_with_the_reason(here: Installation) -> None:
    number = here.issue()
    (here.folder / "worktrees").write_text("no folder")
    here.configure('layout = "overlay"')
    found = here.once()
    assert found["runs"] == [] and "layout = overlay" in found["plan"][0]["reason"]
    assert here.labels(number) == {"agent-ready", "status:todo"}
    told = json.loads(here.run("doctor", "--format", "json", check=1))
    [check] = [check for check in told["checks"] if check["name"] == "workspaces.layout"]
    assert check["status"] == "failure" and "layout" in check["remedy"]
    (here.folder / "worktrees").unlink()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
