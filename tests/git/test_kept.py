"""A workspace and the commits that its run has made: which of the two is newer, here and after another host."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import collect, push, sync, workspace
from agentd.git.mirror import Mirror
from agentd.git.naming import branch_of, work_ref
from agentd.git.runner import git
from tests.git.test_git import TASK, place, source, there  # noqa: F401  # fixtures


def made(there: Mirror, place: workspace.Workspace, run_dir: Path, text: str) -> str:  # noqa: F811
    """A turn of the agent, and the commit that its end becomes."""
    (place.path / "a.txt").write_text(text)
    tree = collect.snapshot(there, place).tree
    sha = collect.commit(there, tree, [place.start_sha], f"feat: {text}", "run-1")
    workspace.note_kept(run_dir, place, sha)
    return sha


def test_a_turn_that_was_not_recorded_any_more_is_still_in_the_workspace(
    there: Mirror,  # noqa: F811
    place: workspace.Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = made(there, place, tmp_path / "run", "first turn")
    made(there, place, tmp_path / "run", "second turn")
    again = workspace.prepare(there, place.path, tmp_path / "run", branch_of(TASK), place.start_sha, first)
    assert (again.path / "a.txt").read_text() == "second turn"


def test_a_workspace_from_before_another_hosts_turn_is_made_anew(
    there: Mirror,  # noqa: F811
    place: workspace.Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    made(there, place, tmp_path / "run", "a turn here")
    (tmp_path / "other").mkdir()
    other = workspace.prepare(there, tmp_path / "elsewhere", tmp_path / "other", branch_of(TASK), place.start_sha)
    theirs = made(there, other, tmp_path / "other", "the turn elsewhere")
    again = workspace.prepare(there, place.path, tmp_path / "run", branch_of(TASK), place.start_sha, theirs)
    assert (again.path / "a.txt").read_text() == "the turn elsewhere"


def test_a_merge_with_a_commit_that_is_not_here_says_so(there: Mirror, place: workspace.Workspace) -> None:  # noqa: F811
    with pytest.raises(GitError, match="is not in the mirror"):
        sync.merge_tree(there, "1" * 40, place.start_sha)


def test_what_a_run_kept_before_stays_on_the_remote_until_all_of_it_goes(
    there: Mirror,  # noqa: F811
    place: workspace.Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = made(there, place, tmp_path / "run", "first turn")
    second = made(there, place, tmp_path / "run", "second turn")
    for sha in (first, second, first, second):
        push.push_work(there, TASK, sha, "claim")
    remote = Path(there.url.removeprefix("file://"))
    kept = git("rev-list", work_ref(TASK), git_dir=remote).splitlines()
    assert {first, second} <= set(kept)
    assert len(git("rev-list", "--merges", work_ref(TASK), git_dir=remote).splitlines()) == 1
    push.push_work(there, TASK, "", "claim")
    assert git("for-each-ref", work_ref(TASK), git_dir=remote) == ""
