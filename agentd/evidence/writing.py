"""Evidence on the disk: written whole, the manifest last, and compared with what the store says now."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from agentd.errors import GitError
from agentd.evidence.files import MANIFEST, NAMES, comparable, sha256_of
from agentd.git.mirror import Mirror
from agentd.git.salvage import salvage_ref
from agentd.model import Run
from agentd.sandbox.redact import redact

FOLDER = "evidence"
"""In the folder of a run."""
MOST_PATCH_BYTES = 32 << 20


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, each whole or not at all. Without a manifest they count for nothing. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in NAMES:
        new = folder / f".{name}.new"
        with new.open("wb") as file:
            file.write(files[name])
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / name)


def problems(folder: Path, again: Mapping[str, bytes] | None = None) -> list[str]:
    """What is wrong with the evidence in a folder: a line for each file that is missing, changed, or not what the
    store says. `again` is the evidence made anew, where that can be.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        listed = {name: str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{folder / MANIFEST}: cannot be read: {error}"]
    found = []
    for name in NAMES[:-1]:
        path = folder / name
        if not path.is_file():
            found.append(f"{path}: is missing")
        elif sha256_of(path.read_bytes()) != listed.get(name):
            found.append(f"{path}: is not what the manifest says")
    for name, content in (again or {}).items():
        path = folder / name
        if path.is_file() and comparable(name, path.read_bytes()) != comparable(name, content):
            found.append(f"{path}: is not what the store says of the run")
    return found


def policy_of(folder: Path) -> str:
    """The policy that held during the run, as its manifest says; the store does not keep it."""
    try:
        return str(json.loads((folder / MANIFEST).read_text())["policy"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def patch_of(mirror: Mirror, run: Run) -> str:
    """What the run changed, from where it began to what it published or what was kept of it; empty for nothing."""
    prefix = f"refs/agentd/runs/{run.run_id}"
    before = _commit(mirror, f"{prefix}/start") or run.base_sha
    for name in (run.head_sha, f"{prefix}/result", salvage_ref(run.task_id, run.run_id)):
        if before and name and (after := _commit(mirror, name)):
            text = mirror.git("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", before, after)
            if len(text) > MOST_PATCH_BYTES:
                return f"# {len(text)} characters: too long to be kept; see {after}\n"
            return f"{text}\n" if text else ""
    return ""


def cleaner(secrets: tuple[str, ...], places: Mapping[str, str]) -> Callable[[str], str]:
    """Takes secrets out of a text, and puts names for paths of the machine: the longest first."""
    known = sorted(((path, name) for path, name in places.items() if len(path) > 1), key=lambda pair: -len(pair[0]))

    def clean(text: str) -> str:
        for path, name in known:
            text = text.replace(path, name)
        return redact(text, secrets)

    return clean


def _commit(mirror: Mirror, name: str) -> str:
    try:
        return mirror.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except GitError:
        return ""
