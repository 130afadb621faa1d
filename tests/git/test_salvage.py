"""What is kept of runs that did not reach a pull request: listing, showing, restoring, dropping."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError, GitError
from agentd.git import collect, salvage
from agentd.git.mirror import Mirror, fetch
from agentd.git.workspace import Workspace, prepare
from tests.git.test_git import source, there  # noqa: F401

Place = tuple[Mirror, Workspace]


@pytest.fixture
def kept(there: Mirror, tmp_path: Path) -> Place:  # noqa: F811
    """The work of two runs: one with a few files of all kinds, one with a single file."""
    for number, task in ((1, "P0-01"), (2, "issue-2")):
        start = fetch(there, task)
        run_dir = tmp_path / f"run-{number}"
        run_dir.mkdir()
        place = prepare(there, tmp_path / "work" / task, run_dir, f"agent/{task}", start)
        (place.path / "new.txt").write_text(f"work {number}")
        if number == 1:
            (place.path / "odd \x1b[31m\n name").write_bytes(b"\xff\0")
            (place.path / "link").symlink_to("/etc/passwd")
            (place.path / "tool").write_text("#!/bin/sh\n")
            (place.path / "tool").chmod(0o755)
        reader = collect.Reader(str(place.path / ".git"))
        assert collect.save(there, place, task, f"run-{number}", "verify said no", reader)
    return there, place


def test_each_has_a_manifest(kept: Place) -> None:
    one, two = salvage.salvages(kept[0])
    assert (one.manifest.task_id, one.manifest.run_id, one.ref) == ("P0-01", "run-1", "refs/agentd/salvage/P0-01/run-1")
    assert set(one.manifest.changed) == {"new.txt", "odd \x1b[31m\n name", "link", "tool"}
    assert (one.manifest.changed_count, one.manifest.reason) == (4, "verify said no")
    assert one.parent == one.manifest.start
    assert isinstance(one.at, datetime)
    assert two.manifest.changed == ("new.txt",)
    assert salvage.size_bytes(kept[0], one) > 0


def test_all_of_it_can_be_restored(kept: Place, tmp_path: Path) -> None:
    mirror, _ = kept
    folder = tmp_path / "restored"
    salvage.restore(mirror, salvage.find(mirror, "run-1"), folder)
    assert (folder / "new.txt").read_text() == "work 1"
    assert (folder / "odd \x1b[31m\n name").read_bytes() == b"\xff\0"
    assert (folder / "link").readlink() == Path("/etc/passwd")
    assert os.access(folder / "tool", os.X_OK)
    assert sorted(path.name for path in tmp_path.iterdir() if "restored" in path.name) == ["restored"]
    with pytest.raises(ConfigurationError, match="is there already"):
        salvage.restore(mirror, salvage.find(mirror, "run-1"), folder)
    with pytest.raises(ConfigurationError, match="no such folder"):
        salvage.restore(mirror, salvage.find(mirror, "run-1"), tmp_path / "not" / "there")


def test_only_what_was_chosen_is_dropped_and_only_as_it_was(kept: Place) -> None:
    mirror, _ = kept
    one, two = salvage.salvages(mirror)
    mirror.git("update-ref", one.ref, one.parent)
    with pytest.raises(GitError):
        salvage.drop(mirror, [two, one])
    assert len(salvage.salvages(mirror)) == 2, "none of them went"
    salvage.drop(mirror, [two])
    assert [found.manifest.run_id for found in salvage.salvages(mirror)] == ["run-1"]
    with pytest.raises(ConfigurationError, match="nothing is kept of such a run"):
        salvage.find(mirror, "run-2")


def test_a_message_that_was_written_by_somebody_else_is_read_as_far_as_it_goes(kept: Place) -> None:
    mirror, _ = kept
    one = salvage.salvages(mirror)[0]
    for last in ("", "{}", "[[", "1", '{"task_id": 1}', '{"a": ' * 9_999):
        text = f"by hand\n\nso\n\n{salvage.MARK}{last}"
        sha = mirror.git(
            "commit-tree",
            f"{one.sha}^{{tree}}",
            "-p",
            one.parent,
            stdin=text.encode(),
            environment=mirror.author.environment(),
        )
        mirror.git("update-ref", "refs/agentd/salvage/P0-09/by-hand", sha)
        manifest = salvage.find(mirror, "by-hand").manifest
        assert (manifest.task_id, manifest.start) == ("P0-09", one.parent)
