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
    new, here = tree_of(mirror, commit), tree
    if tracked_tree(mirror, workspace, reader) != tree:
        intent = json.loads(record.read_text()) if record.is_file() else {}
        if intent.get("before") != tree:
            raise GitError(f"{workspace.path}: was changed after it had been verified")
        # It was this very tree when the first of its files was touched, so nothing but that tree can be lost.
        here = intent["after"]
        look.git("read-tree", "--reset", "-u", here)
    # Without being told which paths it may overwrite, git refuses every untracked one, ignored or not.
    try:
        look.git("read-tree", "-m", "-u", "-n", here, new)
    except GitError as error:
        raise InTheWay(f"a file that is in no commit is in the way of the base: {error}") from None
    # Stays, for an incarnation that is killed before it has recorded where the workspace is.
    record.with_suffix(".new").write_text(json.dumps({"before": tree, "after": new}))
    record.with_suffix(".new").rename(record)
    look.git("read-tree", "-m", "-u", here, new)
    note_moved(run_dir, workspace, commit, start)
