"""Workspaces: made or taken up again in the layout that their record names, set aside, and removed.

After the agent has been in one no git runs with it as its repository: see agentd.git.collect.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts import LAYOUTS, bases
from agentd.git.layouts.protocol import (
    Inside,
    LayoutName,
    Plan,
    View,
    Workspace,
    alternates_folder,
    alternates_of,
)
from agentd.git.mirror import Mirror
from agentd.git.removal import delete, free_name, owner_file, remove, set_aside

ASIDE = "aside-"
"""Begins the names of what a run's folder holds of workspaces that were set aside."""

__all__ = [
    "Inside",
    "LayoutName",
    "View",
    "Workspace",
    "alternates_folder",
    "alternates_of",
    "check_untampered",
    "discard",
    "find",
    "left",
    "note_kept",
    "note_moved",
    "owner_of",
    "prepare",
    "prune_worktrees",
    "remove",
    "set_aside",
    "view",
]


def prepare(
    mirror: Mirror,
    path: Path,
    run_dir: Path,
    branch: str,
    start_sha: str,
    kept: str = "",
    layout: LayoutName = "clone",
    inside: Inside | None = None,
) -> Workspace:
    """Make the workspace at `start_sha` on `branch`, or take up the one that this run left there before.

    `kept` is the commit that the run has made since, perhaps on another host: what is here is as new, or newer, when
    it has been that commit, and else out of date: then the workspace is made anew with its content. A workspace that
    is in the way is moved aside, never deleted here. One that is taken up keeps its layout. Raises GitError.
    """
    with bases.using(mirror):
        known = find(mirror, run_dir)
        if known is not None and (not kept or kept in _kept(run_dir)):
            if known.base is not None and inside is not None:
                bases.base_of(mirror, known.base.name, inside)
            return known
        if path.exists() or path.is_symlink():
            _set_aside(path, run_dir.parent)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.new")
        delete(fresh)
        made = LAYOUTS[layout].make(Plan(mirror, fresh, path, run_dir, branch, start_sha, kept or start_sha, inside))
        owner_file(path).write_text(run_dir.name)
        fresh.rename(path)
        workspace: Workspace = replace(made, path=path)
        _record(run_dir, workspace, [kept] if kept else [])
        return workspace


def find(mirror: Mirror, run_dir: Path) -> Workspace | None:
    """The workspace that the run has on this host, or None. Raises GitError when its record cannot be read."""
    found = _read(mirror, run_dir / bases.RUN_RECORD)
    return found if found is not None and owner_of(found.path) == run_dir.name else None


def left(mirror: Mirror, run_dir: Path) -> list[Workspace]:
    """Everything that the run has on this host: its workspace, and earlier ones that were set aside.

    Raises GitError when a record of it cannot be read.
    """
    aside = [_read(mirror, record) for record in sorted(run_dir.glob(f"{ASIDE}*.json"))]
    return [place for place in (find(mirror, run_dir), *aside) if place is not None]


def owner_of(path: Path) -> str:
    """The run whose workspace is at `path`, by a file beside it, where no program of a run can write."""
    try:
        return owner_file(path).read_text()
    except FileNotFoundError:
        return ""


def _read(mirror: Mirror, record: Path) -> Workspace | None:
    """Raises GitError for a record that nobody can read: after a power cut, for example."""
    if not record.is_file():
        return None
    try:
        known = json.loads(record.read_text())
        base = mirror.bases / known["base"] if known.get("base") else None
        layout = known.get("layout", "clone")
        admin = mirror.path / "worktrees" / known["admin"] if known.get("admin") else None
        workspace = Workspace(Path(known["path"]), Path(known["index"]), known["start_sha"], layout, base, admin)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GitError(f"{record}: cannot be read, so that its workspace is not known: {error!r}") from None
    return workspace if workspace.files.is_dir() else None


def _set_aside(path: Path, runs: Path) -> None:
    """Move a workspace out of the way, and note with its run where it is; `runs` has the folders of all runs."""
    owner, aside = owner_of(path), free_name(path)
    if owner and (runs / owner / bases.RUN_RECORD).is_file():
        known = json.loads((runs / owner / bases.RUN_RECORD).read_text())
        index = Path(known["index"])
        name = runs / owner / f"{ASIDE}{aside.name.rpartition('-')[2]}"
        # An overlay's index stands in a repository of its own.
        before, after = (index, name) if index.name != "index" or index.parent == runs / owner else (index.parent, name)
        new = after if before == index else after / index.name
        note = name.with_suffix(".json")
        note.with_suffix(".new").write_text(json.dumps({**known, "path": str(aside), "index": str(new)}))
        note.with_suffix(".new").rename(note)
        with suppress(FileNotFoundError):
            before.rename(after)
    path.rename(aside)


def note_kept(run_dir: Path, workspace: Workspace, commit: str) -> None:
    """Note that the workspace's content has become this commit of the run too."""
    _record(run_dir, workspace, [*_kept(run_dir), commit])


def note_moved(run_dir: Path, workspace: Workspace, commit: str, start_sha: str) -> None:
    """Note that the workspace was brought to this commit, and that work goes on from `start_sha`."""
    _record(run_dir, replace(workspace, start_sha=start_sha), [*_kept(run_dir), commit])


def view(mirror: Mirror, workspace: Workspace) -> View:
    """What programs of the run must see of the workspace, and where it is on the host."""
    seen: View = LAYOUTS[workspace.layout].view(mirror, workspace)
    return seen


def check_untampered(mirror: Mirror, workspace: Workspace) -> None:
    """Raises GitError when the agent has bent the places that git reads while it fetches from the workspace."""
    LAYOUTS[workspace.layout].check_untampered(mirror, workspace)


def discard(mirror: Mirror, workspace: Workspace) -> None:
    """Delete a workspace whose content is proven to be on a ref, and what the mirror keeps of it."""
    remove(workspace.path)
    LAYOUTS[workspace.layout].forget(mirror, workspace)


def prune_worktrees(mirror: Mirror, runs: Path) -> list[str]:
    """Remove the mirror's folders of linked worktrees that are gone; a record that cannot be read keeps them all.

    `runs` has the folders of all runs. `git worktree prune` would take those of no path that exists, locked or not.
    """
    linked = mirror.path / "worktrees"
    if not linked.is_dir():
        return []
    with bases.alone(mirror):
        try:
            places = [place for run_dir in runs.iterdir() if run_dir.is_dir() for place in left(mirror, run_dir)]
        except (OSError, GitError):
            return []
        named = {place.admin.name for place in places if place.admin}
        gone = sorted({entry.name for entry in linked.iterdir()} - named)
        for name in gone:
            delete(linked / name)
        return gone


def _kept(run_dir: Path) -> list[str]:
    """Commits of the run that the workspace's content has been."""
    known: list[str] = json.loads((run_dir / bases.RUN_RECORD).read_text())["kept"]
    return known


def _record(run_dir: Path, workspace: Workspace, kept: list[str]) -> None:
    known = {
        "path": str(workspace.path),
        "index": str(workspace.index),
        "start_sha": workspace.start_sha,
        "layout": workspace.layout,
        "base": workspace.base.name if workspace.base else "",
        "admin": workspace.admin.name if workspace.admin else "",
        "kept": kept,
    }
    record = run_dir / bases.RUN_RECORD
    record.with_suffix(".new").write_text(json.dumps(known))
    record.with_suffix(".new").rename(record)
