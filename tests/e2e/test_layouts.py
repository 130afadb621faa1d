"""Runs in each layout, from label to pull request: the same work comes back, and what lies where is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentd.git.runner import git
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


def trust(here: Installation) -> None:
    """The profile that `configure` wrote last is trusted."""
    with (here.folder / "agentd.toml").open("a") as file:
        file.write("trusted = true\n")


LAYOUTS = {"auto": "", "overlay": 'layout = "overlay"', "clone": 'layout = "clone"', "worktree": 'layout = "worktree"'}


@pytest.mark.parametrize("setting", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_two_turns_with_a_failed_verify_between_them_become_one_pull_request(here: Installation, setting: str) -> None:
    here.agent(REFACTORING)
    here.configure(setting, verify="touch left-by-verify; test -f done.txt && test ! -e README.md && test -x verify.sh")
    trust(here)
    here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    [pull] = here.pulls()
    files = {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")}
    assert files - {"check.sh"} == {"README.md", "verify.sh", "src/new.py", "done.txt"}
    known = record(here)
    place = Path(known["path"])
    layout = next((name for name in ("clone", "worktree") if name in setting), "overlay")
    assert known["layout"] == layout, "auto takes no worktree, whatever the profile"
    assert (place / "upper").is_dir() == (place / "agentd-workspace.json").is_file() == (layout == "overlay")
    assert (place / ".gitignore").exists() == (layout != "overlay")
    assert (place / ".git").is_file() == (layout == "worktree")


def test_an_overlay_that_cannot_be_had_holds_dispatch_with_the_reason(here: Installation) -> None:
    number = here.issue()
    (here.folder / "worktrees").write_text("no folder")
    here.configure('layout = "overlay"')
    found = here.once()
    assert found["runs"] == [] and "layout = overlay" in found["plan"][0]["reason"]
    assert here.labels(number) == {"agent-ready", "status:todo"}
    [check] = [check for check in here.doctor("--strict", check=1) if check["code"] == "workspaces.layout"]
    assert check["level"] == "fail" and "LAYOUT=auto" in check["remediation"]
    (here.folder / "worktrees").unlink()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]


COMMITTING = """
import pathlib, subprocess, sys
sys.stdin.read()
person = ["-c", "user.name=agent", "-c", "user.email=agent@example.org"]
pathlib.Path("done.txt").write_text("done")
subprocess.run(["git", "add", "done.txt"], check=True)
subprocess.run(["git", *person, "commit", "-qm", "own"], check=True)
pathlib.Path("more.txt").write_text("more")
"""


def linked(here: Installation) -> list[Path]:
    """The mirror's folders of linked worktrees."""
    return list((here.folder / ".agentd/state/mirrors/alice/widget.git").glob("worktrees/*"))


def test_a_worktree_is_salvaged_cleaned_up_and_synced(here: Installation) -> None:
    here.agent(COMMITTING)
    here.configure('layout = "worktree"\nmax_fix_rounds = 0\n[retention]\nworkspace_hours = 0', verify="false")
    trust(here)
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "verify_failed" and len(linked(here)) == 1
    [one] = json.loads(here.run("salvage", "list", "--json"))
    assert set(one["changed"]) == {"done.txt", "more.txt"}
    own = f"refs/agentd/runs/{run['run_id']}/heads/agent/issue-{number}"
    assert "own" in git("log", "--format=%s", own, git_dir=linked(here)[0].parent.parent)
    [gone] = json.loads(here.run("clean", "--json"))["items"]
    assert gone["goes"] and linked(here) == []
    # The base moves on while the next run of the task works, and its branch has what the last one left.
    here.configure('layout = "worktree"', verify="test -f done.txt")
    trust(here)
    here.act("PUT", f"/issues/{number}/labels", {"labels": ["agent-ready", "status:todo"]})
    here.hub.commit("alice/widget", "main", {"newer.txt": "newer"})
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
    [pull] = here.pulls()
    assert {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")} == {"done.txt", "more.txt"}


def test_a_worktree_is_only_for_profiles_that_are_trusted(here: Installation) -> None:
    number = here.issue()
    here.configure('layout = "worktree"')
    found = here.once()
    assert found["runs"] == [] and here.labels(number) == {"agent-ready", "status:todo"}
    assert "profile 'build'" in found["plan"][0]["reason"] and "trusted = true" in found["plan"][0]["reason"]
    found = here.doctor("--strict", check=1)
    assert [check["level"] for check in found if check["code"] == "workspaces.layout"] == ["fail"]
    trust(here)
    [check] = [check for check in here.doctor() if check["code"] == "workspaces.layout"]
    assert check["level"] == "warn" and "agents of build" in check["message"]
    [run] = here.once()["runs"]
    assert run["state"] == "in_review", run["reason"]
