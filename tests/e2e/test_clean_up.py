"""What ended runs leave goes when it is old, and never before its content is proven to be kept."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation
from tests.e2e.test_base_moves import wait_over
from tests.e2e.test_restart import wait_for

SOON = "[retention]\nworkspace_hours = 0\n"
FAILING = "import os, pathlib\npathlib.Path('work.txt').write_text('precious')\npathlib.Path('README.md').unlink()\n"


def clean(here: Installation, *options: str, check: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(here.run("clean", "--json", *options, check=check))["items"]
    return found


def mirror(here: Installation) -> Path:
    return here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"


def salvaged(here: Installation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(here.run("salvage", "list", "--json"))
    return found


def workspaces(here: Installation) -> list[Path]:
    return sorted((here.folder / "worktrees" / "alice" / "widget").iterdir())


def blocked(here: Installation, settings: str = "", check: int | None = 1) -> dict[str, Any]:
    here.agent(FAILING)
    here.configure(f"max_fix_rounds = 0\n{settings}")
    here.issue()
    [run] = here.once(check=check)["runs"]
    found: dict[str, Any] = run
    return found


def files(folder: Path) -> dict[str, bytes]:
    """All files with their content, but for those that SQLite makes for whoever reads."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".db-shm", ".db-wal"}]
    return {str(path): path.read_bytes() for path in found}


def test_a_workspace_stays_for_a_while_and_then_goes_with_its_content_kept(here: Installation) -> None:
    run = blocked(here)
    assert run["state"] == "verify_failed"
    [item] = clean(here)
    assert (item["kind"], item["goes"]) == ("workspace", False)
    here.configure(SOON)
    before = files(here.folder)
    [planned] = clean(here, "--dry-run")
    assert planned["goes"]
    assert files(here.folder) == before, "a dry run writes nothing"
    [gone] = clean(here)
    assert (gone["name"], gone["goes"]) == (planned["name"], True)
    assert "its content is on refs/agentd/" in gone["why"]
    assert workspaces(here) == []
    assert clean(here) == []
    [one] = salvaged(here)
    assert set(one["changed"]) == {"work.txt", "README.md"}


def test_salvage_is_listed_shown_restored_and_dropped(here: Installation) -> None:
    run_id = blocked(here)["run_id"]
    assert f"issue-1      {run_id}  2 files: " in here.run("salvage", "list")
    shown = here.run("salvage", "show", run_id, "--patch")
    assert "+precious" in shown
    assert f"git fetch {mirror(here)} refs/agentd/salvage/issue-1/{run_id}" in shown
    here.run("salvage", "restore", run_id, "back")
    assert (here.folder / "back" / "work.txt").read_text() == "precious"
    assert not (here.folder / "back" / "README.md").exists()
    assert "is there already" in here.run("salvage", "restore", run_id, "back", check=1)
    assert "nothing is kept of such a run" in here.run("salvage", "show", "no-such-run", check=1)
    assert f"would drop {run_id}" in here.run("salvage", "drop", run_id, "--dry-run")
    assert len(salvaged(here)) == 1
    here.run("salvage", "drop", run_id, check=1)  # nobody is there to answer
    assert len(salvaged(here)) == 1
    here.run("salvage", "drop", run_id, "--yes")
    assert salvaged(here) == []


def test_what_changed_after_it_was_salvaged_is_salvaged_too(here: Installation) -> None:
    run_id = blocked(here)["run_id"]
    [upper] = (here.folder / "worktrees").rglob("work.txt")
    upper.write_text("more precious")
    here.configure(SOON)
    [gone] = clean(here)
    assert gone["goes"]
    assert {one["ref"].rpartition("/")[2] for one in salvaged(here)} == {run_id, f"{run_id}.2"}
    ref = f"refs/agentd/salvage/issue-1/{run_id}"
    assert git("show", f"{ref}:work.txt", git_dir=mirror(here)) == "precious"
    assert git("show", f"{ref}.2:work.txt", git_dir=mirror(here)) == "more precious"


def test_a_workspace_that_was_set_aside_is_cleaned_up_as_well(here: Installation) -> None:
    here.agent(FAILING + "raise SystemExit(3)\n")
    here.configure()
    here.issue()
    here.once(check=1)
    wait_over(here)
    here.agent(FAILING.replace("precious", "second") + "raise SystemExit(3)\n")
    here.once(check=1)
    assert len([path for path in workspaces(here) if path.is_dir()]) == 2
    here.configure(SOON)
    assert [item["goes"] for item in clean(here)] == [True, True]
    assert workspaces(here) == []
    refs = git("for-each-ref", "--format=%(refname)", "refs/agentd/salvage/", git_dir=mirror(here)).splitlines()
    assert {git("show", f"{ref}:work.txt", git_dir=mirror(here)) for ref in refs} == {"precious", "second"}


def test_published_work_needs_no_salvage(here: Installation) -> None:
    here.configure(SOON)
    here.issue()
    [run] = here.once()["runs"]
    [gone] = clean(here)
    assert gone["goes"]
    assert f"refs/agentd/runs/{run['run_id']}/" in gone["why"]
    assert salvaged(here) == []


def test_repositories_within_a_workspace_keep_it(here: Installation) -> None:
    here.agent(
        "import subprocess\nopen('done.txt', 'w')\nsubprocess.run(['git', 'init', '-q', 'inner'])\n"
        "open('inner/x', 'w').write('deep')\n"
        "git = ['git', '-C', 'inner', '-c', 'user.name=a', '-c', 'user.email=a@b']\n"
        "subprocess.run([*git, 'commit', '-qm', 'x', '--allow-empty'])\n"
    )
    here.configure(SOON)
    here.issue()
    [run] = here.once(check=1)["runs"]
    assert "git repository inside the working tree" in run["reason"]
    [item] = clean(here, check=1)
    assert (item["goes"], item["why"]) == (False, "stays: holds what git does not take, inner")
    assert list((here.folder / "worktrees").rglob("inner/x"))


def test_the_oldest_go_first_when_all_together_are_too_large(here: Installation) -> None:
    here.agent("open('big', 'w').write('x' * 3_000_000)\nraise SystemExit(3)\n")
    here.configure("[retries]\nagent = 1\n")
    for _ in range(3):
        here.issue()
        here.once(check=1)
    here.configure("[retention]\nworkspaces_max_gib = 0.0065\n")  # of 3 MB each, two
    items = clean(here)
    assert [(Path(item["name"]).name, item["goes"]) for item in items] == [
        ("issue-1", True),
        ("issue-2", False),
        ("issue-3", False),
    ]
    assert "more than workspaces_max_gib" in items[0]["why"]


@pytest.mark.parametrize("spoil", [Path.touch, Path.mkdir], ids=["half written", "not to be written"])
def test_a_size_that_a_full_disk_kept_from_being_noted_keeps_nothing(
    here: Installation, spoil: Callable[[Path], None]
) -> None:
    run_id = blocked(here, SOON)["run_id"]
    spoil(here.folder / ".agentd" / "state" / "runs" / run_id / "issue-1.bytes")
    [gone] = clean(here)
    assert gone["goes"]
    assert gone["size_bytes"] > 0
    assert workspaces(here) == []


def test_a_record_that_nobody_can_read_keeps_one_workspace_and_no_more(here: Installation) -> None:
    kept, other = (blocked(here, SOON)["run_id"] for _ in range(2))
    (here.folder / ".agentd" / "state" / "runs" / kept / "workspace.json").write_text("")
    items = {item["run_id"]: item for item in clean(here, check=1)}
    assert "cannot be read" in items[kept]["why"] and not items[kept]["goes"]
    assert items[other]["goes"]
    assert [path.name for path in workspaces(here)] == [".issue-1.run", "issue-1"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_branch_goes_only_at_the_commit_that_was_merged(here: Installation, hub: PracticeGitHub, moved: bool) -> None:
    here.configure(SOON)
    number = here.issue()
    here.once()
    [pull] = here.pulls()
    hub.merge(REPO, pull["number"], method="squash")
    here.once()
    main = here.get("/branches/main")["commit"]["sha"]
    branch = {"ref": f"refs/heads/agent/issue-{number}", "sha": main if moved else pull["head"]["sha"]}
    here.act("POST", "/git/refs", branch)
    here.act("POST", "/git/refs", {"ref": "refs/heads/agent/mine", "sha": pull["head"]["sha"]})
    items = [item for item in clean(here) if item["kind"] == "branch"]
    assert [item["name"] for item in items] == ([] if moved else [f"agent/issue-{number}"])
    assert {row["name"] for row in here.get("/branches")} == {
        "main",
        "agent/mine",
        *([f"agent/issue-{number}"] if moved else []),
    }


def test_old_salvage_files_and_refs_go_by_age(here: Installation) -> None:
    run_id = blocked(here, SOON)["run_id"]
    clean(here)
    state = here.folder / ".agentd" / "state"
    assert (state / "runs" / run_id).is_dir()
    here.configure(f"{SOON}run_days = 0\nsalvage_days = 0.000001\n")
    assert {item["kind"] for item in clean(here)} == {"files", "refs", "salvage"}
    assert not (state / "runs" / run_id).exists()
    assert not (here.folder / ".agentd" / "logs" / "workers" / f"{run_id}.log").exists()
    assert git("for-each-ref", f"refs/agentd/runs/{run_id}", "refs/agentd/salvage", git_dir=mirror(here)) == ""


def test_without_a_store_there_is_nothing_to_clean(here: Installation) -> None:
    assert "nothing has run here yet" in here.run("clean", check=1)
    assert here.run("salvage", "list") == ""


def test_the_supervisor_cleans_up_when_the_last_time_is_long_ago(here: Installation) -> None:
    blocked(here, f"poll_interval_seconds = 1\n{SOON}")
    stamp = here.folder / ".agentd" / "state" / "clean-up.lock"
    here.run("start")
    try:
        wait_for(stamp.exists)
        assert len(workspaces(here)) > 0, "it begins to count when it is started for the first time"
        os.utime(stamp, (0, 0))
        wait_for(lambda: workspaces(here) == [])
        assert stamp.stat().st_mtime > 0
    finally:
        here.run("stop", "--now")
    assert len(salvaged(here)) == 1


def test_the_engine_and_the_answers_of_github_are_forgotten_by_age(here: Installation, hub: PracticeGitHub) -> None:
    merged = here.issue()
    here.once()
    [pull] = here.pulls()
    hub.merge(REPO, pull["number"], method="squash")
    here.once()
    settings = f"max_fix_rounds = 0\npoll_interval_seconds = 1\n{SOON}run_days = 0\nsalvage_days = 0\n"
    here.configure(settings, verify="false")
    here.issue()
    kept = here.once(check=1)["runs"][0]["run_id"]
    state = here.folder / ".agentd" / "state"

    def rows(file: str, query: str) -> list[str]:
        with closing(sqlite3.connect(state / file)) as connection:
            return [row[0] for row in connection.execute(query)]

    known = "SELECT workflow_uuid FROM workflow_status"
    assert sorted(run[:7] for run in rows("engine.db", known)) == [f"issue-{merged}", kept[:7]]
    [before] = rows("agentd.db", "SELECT max(at) FROM etags")
    stamp = state / "clean-up.lock"
    stamp.touch()
    os.utime(stamp, (0, 0))
    here.run("start")
    try:
        wait_for(lambda: rows("engine.db", known) == [kept])
    finally:
        here.run("stop", "--now")
    assert {
        run
        for table in ("operation_outputs", "workflow_input", "workflow_output")
        for run in rows("engine.db", f"SELECT workflow_uuid FROM {table}")
    } == {kept}
    assert rows("agentd.db", f"SELECT key FROM etags WHERE at <= '{before}'") == []
    here.run("runs", "retry", kept, "--from", "verify")
    assert here.once(check=1)["runs"][0]["state"] == "verify_failed"
