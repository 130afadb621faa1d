"""The support archive: what somebody needs who is to help, and no secret."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentd.doctor.secrecy import without
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError
from agentd.store import holds, ledger, runs

TAIL_BYTES = 200_000
"""Of each log."""
NEWEST_RUNS = 50
NEWEST_EVENTS = 500
LOGS = 5
"""Logs of the newest runs."""
WORDS = ("title", "body")
"""Fields of runs whose text is an issue's: it is not needed to help, and may be nobody else's business."""


def write_bundle(path: Path, visit: Visit, report: dict[str, Any]) -> list[str]:
    """Write the archive, which only its owner may read; the names in it. Raises ConfigurationError.

    Whatever is a known secret, or looks like one, is taken out of every file.
    """
    names = []
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("xb") as file:
            new.chmod(0o600)
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, text in _files(visit, report):
                    data = without(text, visit.secrets).encode(errors="replace")
                    entry = tarfile.TarInfo(f"agentd-doctor/{name}")
                    entry.size, entry.mtime, entry.mode = len(data), int(visit.now.timestamp()), 0o600
                    archive.addfile(entry, io.BytesIO(data))
                    names.append(name)
        new.rename(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: the archive cannot be written: {error.strerror}") from None
    return names


def _files(visit: Visit, report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "report.json", _json(report)
    yield "settings.json", _json(_settings(visit))
    yield "system.json", _json(_system(visit))
    if visit.store is not None:
        newest = runs.latest_runs(visit.store, NEWEST_RUNS)
        rows = [run.model_dump(mode="json", exclude=set(WORDS)) for run in newest]
        yield "runs.json", _json([_with_transitions(visit, row) for row in rows])
        yield "holds.json", _json([hold.model_dump(mode="json") for hold in holds.holds(visit.store).values()])
        yield "events.jsonl", "\n".join(body for _, body in ledger.newest(visit.store, NEWEST_EVENTS)) + "\n"
        for run in newest[:LOGS]:
            yield from _tail(f"runs/{run.run_id}.log", Path(run.log_path))
    yield from _tail("supervisor.log", visit.settings.log_dir / "supervisor.log")


def _settings(visit: Visit) -> dict[str, Any]:
    """Every setting with its origin; of environments that profiles set, the names alone."""
    values = visit.settings.model_dump(mode="json")
    values["token"] = bool(values["token"])
    for profile in values["profiles"].values():
        profile["env"] = sorted(profile["env"])
        profile["files"] = sorted(profile["files"])
        profile.pop("request_extra", None)
    values["lockfiles"]["env"] = sorted(values["lockfiles"]["env"])
    return {name: {"value": value, "origin": visit.loaded.origins[name]} for name, value in values.items()}


def _system(visit: Visit) -> dict[str, Any]:
    from importlib.metadata import distributions

    packages = {each.metadata["Name"]: each.version for each in distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "variables": sorted(visit.environ),
        "packages": dict(sorted(packages.items())),
    }


def _with_transitions(visit: Visit, row: dict[str, Any]) -> dict[str, Any]:
    assert visit.store is not None
    return {**row, "transitions": runs.transitions_of(visit.store, row["run_id"])}


def _tail(name: str, path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            yield name, file.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
