"""Salvage: work that did not reach a pull request, kept on a ref of the mirror with a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agentd.errors import ConfigurationError
from agentd.git.mirror import Mirror
from agentd.git.naming import TASK_ID

PREFIX = "refs/agentd/salvage/"
MARK = "Manifest: "
MOST_PATHS = 1_000
"""Paths that a manifest lists; the commit has them all."""
_FIELDS = "%(refname)%00%(objectname)%00%(parent)%00%(committerdate:iso8601-strict)%00%(contents)%00"


@dataclass(frozen=True)
class Manifest:
    """What a salvage commit says of itself."""

    task_id: str
    run_id: str
    reason: str
    start: str
    """commit that the agent began from, which is the salvage commit's parent"""
    changed: tuple[str, ...] = ()
    """paths that differ from there, as far as they are listed"""
    changed_count: int = 0
    nested: tuple[str, ...] = ()
    """repositories within the workspace, whose content is not in the commit"""
    commits: str = ""
    """ref below which the agent's own commits are, or why they are not"""
    refused: tuple[str, ...] = ()
    """files that git could not read"""


@dataclass(frozen=True)
class Salvage:
    """One salvage ref."""

    ref: str
    sha: str
    parent: str
    at: datetime
    manifest: Manifest

    @property
    def name(self) -> str:
        """The run's id, or `<run id>.2` for what was set aside earlier in the same run."""
        return self.ref.rpartition("/")[2]


def salvage_ref(task_id: str, run_id: str) -> str:
    return f"{PREFIX}{task_id}/{run_id}"


def message(manifest: Manifest) -> str:
    """The salvage commit's message: for people first, then the manifest as one line of JSON."""
    listed = asdict(manifest) | {"changed": manifest.changed[:MOST_PATHS]}
    return (
        f"salvage({manifest.task_id}): work of run {manifest.run_id}\n\n{manifest.reason}\n\n"
        f"{MARK}{json.dumps(listed, sort_keys=True)}\n"
    )


def salvages(mirror: Mirror) -> tuple[Salvage, ...]:
    """Everything that is kept, the oldest first."""
    listed = iter(mirror.git("for-each-ref", f"--format={_FIELDS}", PREFIX).split("\0"))
    found = []
    for ref, sha, parent, at, text in zip(listed, listed, listed, listed, listed, strict=False):
        task_id, _, run_id = ref.strip().removeprefix(PREFIX).partition("/")
        if TASK_ID.fullmatch(task_id):
            manifest = _manifest(text, task_id, run_id, parent)
            found.append(Salvage(ref.strip(), sha, parent, datetime.fromisoformat(at), manifest))
    return tuple(sorted(found, key=lambda one: (one.at, one.ref)))


def find(mirror: Mirror, name: str) -> Salvage:
    """The salvage of that name or ref. Raises ConfigurationError."""
    for one in salvages(mirror):
        if name in (one.name, one.ref):
            return one
    raise ConfigurationError(f"{name}: nothing is kept of such a run; `agentd salvage list` shows what is")


def restore(mirror: Mirror, salvage: Salvage, folder: Path) -> None:
    """Write the whole content into a new folder; no file of it is run. Raises ConfigurationError when it is there."""
    target, new = folder.absolute(), folder.absolute().with_name(f".{folder.name}.new")
    if target.exists() or target.is_symlink():
        raise ConfigurationError(f"{folder}: is there already; name a folder that is not")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{target.parent}: no such folder")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    index = new.with_name(f"{new.name}.index")
    environment = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(new)}
    try:
        mirror.git("read-tree", salvage.sha, environment=environment)
        mirror.git("checkout-index", "--all", "--force", cwd=new, environment=environment)
        new.rename(target)
    finally:
        index.unlink(missing_ok=True)
        shutil.rmtree(new, ignore_errors=True)


def drop(mirror: Mirror, chosen: Sequence[Salvage]) -> None:
    """Delete the refs, each only if it is what it was when it was chosen: all of them or none."""
    orders = "".join(f"delete {one.ref} {one.sha}\n" for one in chosen)
    mirror.git("update-ref", "--stdin", stdin=orders.encode())


def size_bytes(mirror: Mirror, salvage: Salvage) -> int:
    """Bytes of the files that only this salvage has, next to the commit that its run began from."""
    listed = mirror.git("rev-list", "--objects", "--disk-usage", salvage.sha, f"^{salvage.parent}")
    return int(listed)


def _manifest(text: str, task_id: str, run_id: str, parent: str) -> Manifest:
    """What the message says; of one that was written otherwise, what can be known."""
    *_, last = text.rstrip("\n").rpartition(f"\n{MARK}")
    try:
        found: dict[str, Any] = json.loads(last)
        lists: dict[str, Any] = {name: tuple(found[name]) for name in ("changed", "nested", "refused") if name in found}
        return Manifest(**found | lists)
    except (ValueError, TypeError, KeyError, RecursionError):
        return Manifest(task_id, run_id, text.partition("\n\n")[2].strip(), parent)
