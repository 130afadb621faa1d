"""Clean-up at scale: branches of merged tasks among ten thousand, and workspaces of ended runs among five hundred."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from agentd.git.branches import delete_branches, remote_branches
from agentd.git.mirror import Mirror, fetch
from agentd.git.runner import Author, git
from agentd.git.workspace import left, prepare, remove
from benchmarks.rows import Row

BRANCHES, MERGED = 10_000, 500
WORKSPACES = 500
TREE = 20
"""Files of each workspace: what is measured grows with their number, not with their size."""
BAR_SECONDS = 10.0


def cleaning() -> list[Row]:
    """Seconds to find and delete 500 of 10,000 branches, and to find and remove 500 workspaces."""
    with tempfile.TemporaryDirectory(prefix="agentd-bench-") as name:
        folder = Path(name)
        remote = folder / "remote.git"
        git("init", "--quiet", "--bare", str(remote), cwd=folder)
        parts = [b"commit refs/heads/main\ncommitter bench <bench@example.org> 1700000000 +0000\ndata 5\nfiles\n"]
        parts += [b"M 100644 inline %d.txt\ndata 1\nx\n" % number for number in range(TREE)]
        git("fast-import", "--quiet", git_dir=remote, stdin=b"".join(parts))
        path = folder / "mirror.git"
        git("init", "--quiet", "--bare", str(path), cwd=folder)
        mirror = Mirror(path, f"file://{remote}", "", "main", Author("bench", "bench@example.org"))
        sha = fetch(mirror)
        orders = "".join(f"create refs/heads/agent/issue-{number} {sha}\n" for number in range(1, BRANCHES + 1))
        git("update-ref", "--stdin", git_dir=remote, stdin=orders.encode())
        return [_branches(mirror), _workspaces(mirror, folder, sha)]


def _branches(mirror: Mirror) -> Row:
    began = time.perf_counter()
    there = remote_branches(mirror)
    kept = delete_branches(mirror, dict(list(there.items())[:MERGED]))
    seconds = time.perf_counter() - began
    assert len(there) == BRANCHES
    assert not kept
    return Row("clean-up, branches", seconds, "s", BAR_SECONDS, f"{MERGED} of {BRANCHES:,} branches deleted")


def _workspaces(mirror: Mirror, folder: Path, sha: str) -> Row:
    runs = [folder / "runs" / f"run-{number}" for number in range(WORKSPACES)]
    for number, run_dir in enumerate(runs):
        run_dir.mkdir(parents=True)
        prepare(mirror, folder / "work" / f"issue-{number}", run_dir, f"agent/issue-{number}", sha)
    began = time.perf_counter()
    places = [place for run_dir in runs for place in left(mirror, run_dir)]
    for place in places:
        remove(place.path)
    seconds = time.perf_counter() - began
    assert len(places) == WORKSPACES
    assert not list((folder / "work").iterdir())
    return Row("clean-up, workspaces", seconds, "s", BAR_SECONDS, f"{WORKSPACES} workspaces found and removed")
