"""How soon a workspace is ready, beside what else makes a working tree: each in turn, on one repository."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from agentd.errors import AgentdError
from agentd.git.collect import Reader, snapshot
from agentd.git.layouts.protocol import LayoutName
from agentd.git.mirror import Mirror, fetch
from agentd.git.runner import Author, git
from agentd.git.workspace import Workspace, prepare
from agentd.run.views import run_inside
from agentd.sandbox.overlay import overlay_problem
from benchmarks.rows import Row

ROUNDS = 5
AT_ONCE = 16
FEW_FILES = 1000
"""Of the repository that sixteen clones are made of at once: what fails there are locks, whatever the size."""
FILES_A_FOLDER = 100
FILE_BYTES = 1400
AUTHOR = Author("bench", "bench@example.org")


def ready(files: int, place: Path) -> list[Row]:
    """A workspace of each layout over `git worktree add` of the same commit, and sixteen at the same time.

    In a folder of `place`, where nothing is deleted before the end: creating after deleting is slow on some disks.
    """
    with tempfile.TemporaryDirectory(prefix="agentd-bench-", dir=place) as name:
        folder = Path(name)
        mirror, sha = _mirror(folder, files)
        made: dict[str, list[float]] = {"worktree": [], "cp": [], "clone": []}
        peers: dict[str, Callable[[int], object]] = {
            "worktree": lambda turn: _run(
                "git", "-C", mirror.path, "worktree", "add", "--quiet", "--detach", folder / f"worktree-{turn}", sha
            ),
            "cp": lambda turn: _run("cp", "-a", folder / "worktree-0", folder / f"cp-{turn}"),
            "clone": lambda turn: _prepare(mirror, folder, f"clone-{turn}", sha, "clone"),
        }
        problem = overlay_problem(folder, folder)
        if not problem:
            # The base itself is made once for all runs, which the first one pays.
            first = _seconds(lambda: _prepare(mirror, folder, "first", sha, "overlay"))
            made["overlay"] = []
            peers["overlay"] = lambda turn: _prepare(mirror, folder, f"overlay-{turn}", sha, "overlay")
        for turn in range(ROUNDS):
            for kind, make in peers.items():
                made[kind].append(_seconds(lambda make=make, turn=turn: make(turn)))  # type: ignore[misc]
        peer = statistics.median(made["worktree"])
        beside = (
            f"{files} files; git worktree add {1000 * peer:.0f} ms, cp -a {statistics.median(made['cp']) / peer:.2f} x"
        )
        clone = statistics.median(made["clone"])
        rows = [Row("workspace ready, clone", clone / peer, "x", 1.1, f"{1000 * clone:.0f} ms; {beside}")]
        if problem:
            return [*rows, Row("workspace ready, overlay", float("inf"), "x", 0.1, problem)]
        overlay = statistics.median(made["overlay"])
        note = f"{1000 * overlay:.0f} ms, the first one of a commit {1000 * first:.0f} ms"
        rows.append(Row("workspace ready, overlay", overlay / peer, "x", 0.1, note))
        rows += _first_look(mirror, folder, sha)
        few = folder / "few"
        few.mkdir()
        return [*rows, *_at_once({"overlay": (mirror, sha, folder), "clone": (*_mirror(few, FEW_FILES), few)})]


def _at_once(kinds: dict[LayoutName, tuple[Mirror, str, Path]]) -> list[Row]:
    """Sixteen of each layout at the same time: how many failed."""
    failed, notes = 0, []
    for layout, (mirror, sha, folder) in kinds.items():
        makes = [partial(_prepare, mirror, folder, f"many-{number}", sha, layout) for number in range(AT_ONCE)]
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            failed += sum(pool.map(_fails, makes))
        notes.append(f"{layout} {time.perf_counter() - began:.2f} s")
    return [Row(f"{AT_ONCE} workspaces at once", failed, "failed", 0, f"{', '.join(notes)} ({FEW_FILES} files)")]


def _fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except AgentdError:
        return True
    return False


def _first_look(mirror: Mirror, folder: Path, sha: str) -> list[Row]:
    """Collecting one changed file from each layout: what the wait saved must not be paid there."""
    taken = {}
    for layout in ("clone", "overlay"):
        rounds = []
        for turn in range(ROUNDS):
            place = _prepare(mirror, folder, f"look-{layout}-{turn}", sha, layout)  # type: ignore[arg-type]
            (place.files / "new.txt").write_text(f"{layout} {turn}")
            rounds.append(
                _seconds(lambda place=place: snapshot(mirror, place, Reader("", inside=run_inside)))  # type: ignore[misc]
            )
        taken[layout] = statistics.median(rounds)
    note = f"overlay {1000 * taken['overlay']:.0f} ms, clone {1000 * taken['clone']:.0f} ms"
    return [Row("collecting, overlay", taken["overlay"] / taken["clone"], "x clone", 2, note)]


def _prepare(mirror: Mirror, folder: Path, name: str, sha: str, layout: LayoutName) -> Workspace:
    run_dir = folder / "runs" / name
    run_dir.mkdir(parents=True)
    return prepare(mirror, folder / "work" / name, run_dir, f"agent/{name}", sha, "", layout, run_inside)


def _run(*command: str | Path) -> None:
    """A peer, as people have it: without any setting of agentd's."""
    subprocess.run(command, check=True)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _mirror(folder: Path, files: int) -> tuple[Mirror, str]:
    """A mirror of a repository of so many small files, and its commit."""
    remote = folder / "remote.git"
    git("init", "--quiet", "--bare", str(remote), cwd=folder)
    parts = [b"commit refs/heads/main\ncommitter bench <bench@example.org> 1700000000 +0000\ndata 5\nfiles\n"]
    for number in range(files):
        text = f"{number}\n".ljust(FILE_BYTES, ".").encode()
        path = f"part-{number // FILES_A_FOLDER:04}/file-{number:06}.txt"
        parts.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(text), text))
    git("fast-import", "--quiet", git_dir=remote, stdin=b"".join(parts))
    path = folder / "mirror.git"
    git("init", "--quiet", "--bare", str(path), cwd=folder)
    mirror = Mirror(path, f"file://{remote}", "", "main", AUTHOR)
    return mirror, fetch(mirror)
