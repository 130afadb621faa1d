"""Bringing a workspace from one commit to another while its untracked files stay: what a sync does to it."""

from __future__ import annotations

import json
from pathlib import Path

from agentd.errors import GitError
from agentd.git.collect import Look, Reader, tracked_tree
from agentd.git.mirror import Mirror, tree_of
from agentd.git.workspace import Workspace, note_moved

INTENT = "update.json"


class InTheWay(GitError):
    """The workspace holds something that is in no commit where the new one has a file; nothing was touched."""


def advance(
    mirror: Mirror, workspace: Workspace, run_dir: Path, tree: str, commit: str, start: str, reader: Reader
) -> None:
    """Change the workspace's tracked files from `tree` to those of `commit`; work goes on from `start`.

    May be repeated: an intent, written before the first file is touched, says where a crash has left it. Raises
    InTheWay, and GitError when the workspace is not what it should be.
    """
    record, look = run_dir / INTENT, Look(mirror, workspace, reader)
    new = tree_of(mirror, commit)
    if record.is_file():
        # The files were proven to be in a commit before the first of them was touched.
        tree = json.loads(record.read_text())["tree"]
        look.git("read-tree", "--reset", "-u", tree)
        record.unlink()
    if tracked_tree(mirror, workspace, reader) != tree:
        raise GitError(f"{workspace.path}: was changed after it had been verified")
    # Without being told which paths it may overwrite, git refuses every untracked one, ignored or not.
    try:
        look.git("read-tree", "-m", "-u", "-n", tree, new)
    except GitError as error:
        raise InTheWay(f"a file that is in no commit is in the way of the base: {error}") from None
    record.with_suffix(".new").write_text(json.dumps({"tree": new}))
    record.with_suffix(".new").rename(record)
    look.git("read-tree", "-m", "-u", tree, new)
    note_moved(run_dir, workspace, commit, start)
    record.unlink()
