"""Clean-up: what ended runs have left, removed when it is old enough and its content is proven to be kept.

A dry run prints the same plan that a real one carries out. Whatever cannot be proven stays, with the reason.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from agentd.errors import ConfigurationError, GitError
from agentd.git.branches import delete_branches, remote_branches
from agentd.git.collect import snapshot
from agentd.git.layouts.bases import prune_bases
from agentd.git.mirror import Mirror, maintain, tree_of
from agentd.git.naming import base_ref, branch_of, task_of
from agentd.git.removal import GONE, delete
from agentd.git.salvage import drop, salvage_ref, salvages
from agentd.git.workspace import Workspace, discard, left, prune_worktrees
from agentd.model import Run
from agentd.run.context import Context
from agentd.run.desk import open_desk
from agentd.run.enclosure import reading
from agentd.run.stages.finish import save_work
from agentd.run.stages.sync import unpublished_ref
from agentd.states import ACTIVE, RunState
from agentd.store import runs, steps
from agentd.store.etags import StoredEtags

Kind = Literal["workspace", "files", "refs", "salvage", "branch"]
LIVING = ACTIVE | {RunState.in_review}
"""States of runs that may still need what they have on the mirror and on the remote."""
DAY = timedelta(days=1)
LOCK = "clean-up.lock"
"""In the state directory; its time stamp says when it was cleaned up last."""


@dataclass(frozen=True)
class Item:
    """One thing that is left, and what becomes of it."""

    kind: Kind
    name: str
    goes: bool
    why: str
    """the proof that nothing is lost, or why it stays"""
    size_bytes: int = 0
    run_id: str = ""
    sha: str = ""


def clean_up(context: Context, *, dry_run: bool = False, remote: bool = True) -> list[Item]:
    """Everything that ended runs have left, and what became of it. One at a time on a host. Raises GitError.

    The branches on the remote are one installation's: without `remote` they are left to its leader.
    """
    with _alone(context, dry_run):
        items = [*_workspaces(context, dry_run), *_files(context), *_refs(context), *_salvage(context)]
        if not dry_run:
            items = _done(context, items)
            for gone in context.settings.workspaces.glob(f"{GONE}*"):
                delete(gone)
            prune_bases(context.mirror, context.settings.workspaces, context.settings.state_dir / "runs")
            prune_worktrees(context.mirror, context.settings.state_dir / "runs")
            maintain(context.mirror)
            StoredEtags(context.store).forget(long_ago(context))
        return items + (_branches(context, dry_run) if remote else [])


def long_ago(context: Context) -> datetime:
    """What ended before that has had its time (`run_days`)."""
    return context.clock.now() - context.settings.retention.run_days * DAY


def cleaned_at(context: Context) -> float:
    """When it was cleaned up last, in seconds since the epoch; where it never was, that is now."""
    stamp = context.settings.state_dir / LOCK
    if not stamp.exists():
        stamp.touch()
    return stamp.stat().st_mtime


@contextmanager
def _alone(context: Context, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    stamp = context.settings.state_dir / LOCK
    with stamp.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = context.clock.now().timestamp()
        os.utime(stamp, (now, now))
        yield


def _done(context: Context, items: list[Item]) -> list[Item]:
    """The plan, carried out; what could not be done stays with the reason."""
    carried = []
    for item in items:
        try:
            carried.append(_DO[item.kind](context, item) if item.goes else item)
        except (GitError, ConfigurationError, OSError) as error:
            carried.append(replace(item, goes=False, why=f"stays: {error}"))
    return carried


def _workspaces(context: Context, dry_run: bool) -> list[Item]:
    """Workspaces of ended runs, the oldest first: by age, and earlier while all together are too large."""
    retention, now = context.settings.retention, context.clock.now()
    found: list[tuple[datetime, Item]] = []
    for folder in _run_dirs(context):
        places, trouble = _left(context, folder)
        if trouble:
            found.append((now, Item("workspace", str(folder), False, f"stays: {trouble}", run_id=folder.name)))
        for place in places:
            run = runs.get_run(context.store, folder.name)
            ended = _ended(run, folder)
            if run is None or ended is None:
                why = "its run is under way" if run else "the store does not know its run: remove it by hand"
                found.append((now, Item("workspace", str(place.path), False, why, run_id=folder.name)))
                continue
            old = now - ended > timedelta(hours=retention.workspace_hours)
            why = f"its run ended {ended:%Y-%m-%d %H:%M} UTC"
            size = _size_bytes(place, folder, keep=not dry_run)
            found.append((ended, Item("workspace", str(place.path), old, why, size, folder.name)))
    found.sort(key=lambda one: one[0])
    items = [item for _, item in found]
    total = sum(item.size_bytes for item in items if not item.goes)
    limit = retention.workspaces_max_gib * (1 << 30)
    for at, item in enumerate(items):
        if limit and total > limit and not item.goes and item.size_bytes:
            total -= item.size_bytes
            items[at] = replace(item, goes=True, why=f"{item.why}; all together are more than workspaces_max_gib")
    return items


def _remove_workspace(context: Context, item: Item) -> Item:
    folder = context.run_dir(item.run_id)
    place = next((one for one in left(context.mirror, folder) if str(one.path) == item.name), None)
    if place is None:
        return item
    if not place.index.is_file():
        return replace(item, goes=False, why=f"stays: {place.index} is gone")
    run = runs.get_run(context.store, item.run_id)
    if run is None or run.state in ACTIVE:
        return replace(item, goes=False, why="its run is under way")
    desk = open_desk(context, item.run_id)
    with reading(desk, place) as reader:
        found = snapshot(context.mirror, place, reader)
    if not found.is_whole:
        names = ", ".join((*found.nested, *found.refused))
        return replace(item, goes=False, why=f"stays: holds what git does not take, {names}")
    proof = _where(context.mirror, run, place, found.tree)
    if not proof:
        proof = save_work(desk, place, "kept by the clean-up")
    discard(context.mirror, place)
    return replace(item, why=f"{item.why}; its content is on {proof}")


def _where(mirror: Mirror, run: Run, place: Workspace, tree: str) -> str:
    """Where a tree is kept: the commit that the work began from, what the run made, or its salvage."""
    prefix = f"refs/agentd/runs/{run.run_id}/"
    listed = mirror.git(
        "for-each-ref", "--format=%(refname) %(tree)", prefix, salvage_ref(run.task_id, run.run_id)
    ).splitlines()
    for line in listed:
        ref, _, found = line.partition(" ")
        if found == tree:
            return ref
    for sha, what in ((place.start_sha, "the commit it began from"), (run.head_sha, "the commit it published")):
        if sha and tree_of(mirror, sha) == tree:
            return f"{what}, {sha[:12]}"
    return ""


def _files(context: Context) -> list[Item]:
    """Folders and logs of runs that ended long ago and have no workspace any more."""
    items, limit = [], long_ago(context)
    for folder in _run_dirs(context):
        ended = _ended(runs.get_run(context.store, folder.name), folder)
        if ended is not None and ended < limit and _left(context, folder) == ([], ""):
            items.append(Item("files", str(folder), True, f"its run ended {ended:%Y-%m-%d} UTC", run_id=folder.name))
    return items


def _remove_files(context: Context, item: Item) -> Item:
    folder = context.run_dir(item.run_id)
    gone = folder.with_name(f".gone-{folder.name}")
    folder.rename(gone)  # whole or not at all, for who looks for runs by their folders
    shutil.rmtree(gone, ignore_errors=True)
    context.log_path(item.run_id).unlink(missing_ok=True)
    (context.settings.log_dir / "traces" / f"{item.run_id}.json").unlink(missing_ok=True)
    steps.forget(context.store, item.run_id)
    return item


def _refs(context: Context) -> list[Item]:
    """The mirror's refs of runs: of merged ones when they are old, of others as long as their salvage is kept."""
    retention, now = context.settings.retention, context.clock.now()
    names: dict[str, str] = {}
    for line in context.mirror.git("for-each-ref", "--format=%(refname)", "refs/agentd/runs/").splitlines():
        names.setdefault(line.split("/")[3], line)
    items = []
    for run_id in names:
        run = runs.get_run(context.store, run_id)
        if run is None or run.state in LIVING:
            continue
        days = retention.run_days if run.state is RunState.merged else retention.salvage_days
        if days and now - (run.finished_at or run.updated_at) > days * DAY:
            why = "it was merged" if run.state is RunState.merged else "its salvage is kept no longer"
            items.append(Item("refs", f"refs/agentd/runs/{run_id}", True, why, run_id=run_id))
    return items


def _remove_refs(context: Context, item: Item) -> Item:
    run = runs.get_run(context.store, item.run_id)
    listed = context.mirror.git("for-each-ref", "--format=delete %(refname) %(objectname)", f"{item.name}/")
    if run is not None and run.state is RunState.merged:
        task = (unpublished_ref(run.task_id), base_ref(run.task_id))
        mine = context.mirror.git("for-each-ref", "--format=delete %(refname) %(objectname)", *task)
        listed = f"{listed}\n{mine}" if mine else listed
    context.mirror.git("update-ref", "--stdin", stdin=f"{listed}\n".encode())
    return item


def _salvage(context: Context) -> list[Item]:
    days, now = context.settings.retention.salvage_days, context.clock.now()
    return [
        Item("salvage", one.ref, True, f"kept since {one.at:%Y-%m-%d}", run_id=one.manifest.run_id, sha=one.sha)
        for one in salvages(context.mirror)
        if days and now - one.at > days * DAY
    ]


def _remove_salvage(context: Context, item: Item) -> Item:
    drop(context.mirror, [one for one in salvages(context.mirror) if (one.ref, one.sha) == (item.name, item.sha)])
    return item


def _branches(context: Context, dry_run: bool) -> list[Item]:
    """Branches of tasks whose newest run was merged at exactly that commit: by commit and not by name.

    A task that was opened again has a newer run, and a branch that somebody pushed to another commit.
    """
    newest = runs.latest_by_task(context.store)
    items = []
    for branch, sha in remote_branches(context.mirror).items():
        run = newest.get(task_of(branch) or "")
        if run is None or run.branch != branch or run.state is not RunState.merged or run.head_sha != sha:
            continue
        items.append(
            Item("branch", branch_of(run.task_id), True, f"merged as {run.pr_url}", run_id=run.run_id, sha=sha)
        )
    if dry_run or not items:
        return items
    left = delete_branches(context.mirror, {item.name: item.sha for item in items})
    return [replace(item, goes=False, why=f"stays: {left[item.name]}") if item.name in left else item for item in items]


_DO = {
    "workspace": _remove_workspace,
    "files": _remove_files,
    "refs": _remove_refs,
    "salvage": _remove_salvage,
}


def _run_dirs(context: Context) -> list[Path]:
    folder = context.settings.state_dir / "runs"
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _left(context: Context, folder: Path) -> tuple[list[Workspace], str]:
    """The workspaces of a run, or why they are not known."""
    try:
        return left(context.mirror, folder), ""
    except GitError as error:
        return [], str(error)


def _ended(run: Run | None, folder: Path) -> datetime | None:
    """When the run ended, as far as is known; None while it has not."""
    if run is None:
        return datetime.fromtimestamp(folder.stat().st_mtime).astimezone()
    return None if run.state in ACTIVE else run.finished_at or run.updated_at


def _size_bytes(place: Workspace, folder: Path, *, keep: bool) -> int:
    """Disk of a workspace that nobody works in, measured once.

    What cannot be noted or read is measured again: a full disk must not keep the clean-up from making room.
    """
    known = folder / f"{place.path.name}.bytes"
    with suppress(OSError, ValueError):
        return int(known.read_text())
    done = subprocess.run(["du", "-s", "-B1", "--", str(place.path)], capture_output=True, text=True)
    size = int(done.stdout.split()[0]) if done.stdout else 0
    if keep:
        new = folder / f".{known.name}.new"
        with suppress(OSError):
            new.write_text(str(size))
            new.replace(known)
    return size
