"""Base checkouts: the files of one commit, made once, shared by all workspaces of the overlay layout that begin there.

A base is complete or absent: it is made beside its place, written to disk, and renamed. Nobody writes in it afterwards;
the sandbox shows it below the run's own files. It belongs to agentd's user and group, which are the only ones that the
sandbox knows: the kernel refuses to copy files of others up.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agentd.errors import GitError
from agentd.git.layouts.clone import bare_clone, view
from agentd.git.layouts.protocol import Inside, Workspace
from agentd.git.layouts.written import NOTHING, monitor
from agentd.git.mirror import Mirror, resolve
from agentd.git.removal import delete
from agentd.git.runner import ENVIRONMENT, TIMEOUT_SECONDS, command

RUN_RECORD = "workspace.json"
"""In the folder of a run: which workspace it has."""
RECORD = "agentd-workspace.json"
"""In a workspace of the overlay layout, beside its upper folder: which base it is made of."""
RECORD_BYTES = 1 << 16
CLOCK_TICK_SECONDS = 0.02
"""By so much at most the clock of a file system is behind."""


@contextmanager
def using(mirror: Mirror) -> Iterator[None]:
    """While a base is chosen, made and written into a record; none is removed meanwhile."""
    with _lock(mirror, "in-use", fcntl.LOCK_SH):
        yield


@contextmanager
def alone(mirror: Mirror) -> Iterator[None]:
    """While something is removed because no record names it; no workspace is made meanwhile."""
    with _lock(mirror, "in-use", fcntl.LOCK_EX):
        yield


def base_of(mirror: Mirror, sha: str, inside: Inside) -> Path:
    """The base checkout of a commit, made when it is not there. Call it while `using`. Raises GitError."""
    place = mirror.bases / sha
    with _lock(mirror, f"making-{sha}", fcntl.LOCK_EX):
        if place.is_dir():
            return place
        for left in mirror.bases.glob(f".new-{sha}-*"):
            delete(left)
        # A name of its own: what a killed maker started may still write into the other one.
        fresh = mirror.bases / f".new-{sha}-{secrets.token_hex(4)}"
        bare_clone(mirror, fresh)

        def git_inside(*arguments: str, options: Sequence[str] = ()) -> None:
            # Inside, so that the index holds owners and inodes as programs inside will see them.
            inside(
                view(mirror, Workspace(fresh, fresh / ".git" / "index", sha)),
                command(*arguments, options=options),
                environment={**ENVIRONMENT, "GIT_DIR": ".git", "GIT_WORK_TREE": "."},
                timeout_seconds=TIMEOUT_SECONDS,
            )

        with mirror.checking_out():
            git_inside("checkout", "--quiet", "--detach", sha)
        _settle(fresh / ".git" / "index")
        # All of it is looked at now, so that a look at a workspace over it need not (agentd.git.layouts.written).
        git_inside("update-index", "-q", "--refresh", options=(monitor(NOTHING),))
        _write_to_disk(fresh)
        fresh.rename(place)
    return place


def prune_bases(mirror: Mirror, workspaces: Path, runs: Path, keep: Collection[str] = ()) -> list[str]:
    """Remove the bases that no workspace is made of, except those of `keep` and of the base branch; their commits.

    The proof are the records of all workspaces in the folder `workspaces`, those that were set aside included, and of
    all runs in the folder `runs` whose workspace is still there. A record that cannot be read keeps every base.
    """
    if not mirror.bases.is_dir():
        return []
    with alone(mirror):
        try:
            named = {*keep, *map(_base_under, workspaces.iterdir() if workspaces.is_dir() else ())}
            named |= {_base_in(record) for record in runs.glob(f"*/{RUN_RECORD}")}
        except (OSError, ValueError, AttributeError):
            return []
        named.add(resolve(mirror, f"refs/remotes/origin/{mirror.base_branch}") or "")
        gone = [place for place in mirror.bases.iterdir() if place.is_dir() and place.name not in named]
        removed = []
        for place in gone:
            aside = place if place.name.startswith(".") else place.rename(place.with_name(f".gone-{place.name}"))
            delete(aside)
            (mirror.bases / f".making-{place.name}.lock").unlink(missing_ok=True)
            removed += [] if place.name.startswith(".") else [place.name]
        return sorted(removed)


def _base_in(record: Path) -> str:
    """The base that a run's workspace is made of, empty when it is made of none or is gone."""
    known = json.loads(record.read_text())
    folder = Path(known["path"])
    if (folder / RECORD).exists():
        return _base_under(folder)
    return str(known.get("base", "")) if (folder / "upper").exists() else ""


def _base_under(folder: Path) -> str:
    """The base that a folder among the workspaces is made of; in a clone, whatever the agent has put there."""
    try:
        descriptor = os.open(folder / RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return str(json.loads(file.read(RECORD_BYTES)).get("base", ""))


def _write_to_disk(folder: Path) -> None:
    """Before it gets its name: a power cut must not leave a base whose files are empty."""
    done = subprocess.run(["sync", "--file-system", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise GitError(f"{folder} cannot be written to disk: {done.stderr.strip()}")


def folder_of(mirror: Mirror) -> Path:
    """The folder of the mirror's bases, made when it is not there."""
    if not mirror.bases.is_dir():
        mirror.bases.mkdir(mode=0o700, exist_ok=True)
        mirror.bases.chmod(0o700)  # without the bit that would hand the group of its parent on
    return mirror.bases


def _settle(index: Path) -> None:
    """Wait until the second of the checkout is over, and let the index be from the next one.

    git reads files again that are from the second of their index, and of a fresh checkout these may be all, in every
    workspace over it (Documentation/technical/racy-git.txt). What is changed from now on is from a later second.
    """
    over = int(index.stat().st_mtime) + 1 + CLOCK_TICK_SECONDS
    while (wait := over - time.time()) > 0:
        time.sleep(wait)
    os.utime(index)


@contextmanager
def _lock(mirror: Mirror, name: str, how: int) -> Iterator[None]:
    with (folder_of(mirror) / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, how)
        yield
