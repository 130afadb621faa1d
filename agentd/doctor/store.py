"""Where agentd keeps what it knows: folders, their rights and disk, the store's file, and the ledger in it."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from agentd.doctor.finding import Code, Finding, safe
from agentd.doctor.visit import Visit
from agentd.errors import StoreError
from agentd.store.health import broken_links, damage, damage_of

NEWEST_EVENTS = 5_000
"""Rows of the ledger that are looked at: enough to notice what was changed lately, within the time of a look."""
MIB = 1 << 20

STATE_DIR = Code("store.state_dir", "State dir", "others may read it, or agentd may not write it", "mend its rights")
LOG_DIR = Code("store.log_dir", "Log dir", "others may read it, or agentd may not write it", "mend its rights")
FILE = Code(
    "store.file",
    "Run state file",
    "the store cannot be opened: damaged, locked, of another version, or not to be reached",
    "as the message says; agentd makes a new store from what GitHub has",
)
INTEGRITY = Code(
    "store.integrity",
    "Store integrity",
    "SQLite finds the file damaged",
    "move it away: agentd makes a new one from what GitHub has",
)
ENGINE = Code(
    "store.engine",
    "Engine store",
    "the file of the durable engine is damaged: no run can be started or gone on with",
    "move it away: runs under way begin anew in their working trees",
)
LEDGER = Code(
    "store.ledger",
    "Ledger",
    "the chain of hashes does not hold: somebody changed the record of what happened",
    "keep the file as evidence, and find out who",
)
DISK = Code(
    "store.disk",
    "Disk",
    "less disk is free than the runs that may be under way may fill (`max_parallel` times `max_disk_mib`)",
    "free some: `agentd clean` removes what ended runs have left",
)
CODES = (STATE_DIR, LOG_DIR, FILE, INTEGRITY, ENGINE, LEDGER, DISK)


def checks(visit: Visit) -> Iterator[Finding]:
    """The folders first, then what is in them."""
    settings = visit.settings
    yield _folder(STATE_DIR, settings.state_dir)
    yield _folder(LOG_DIR, settings.log_dir)
    yield _disk(visit)
    yield from _file(visit)
    yield from _engine(visit)


def _folder(code: Code, folder: Path) -> Finding:
    if not folder.exists():
        above = next(place for place in folder.parents if place.exists())
        if os.access(above, os.W_OK):
            return code.ok(f"{folder} is made when it is needed")
        return code.fail(f"{folder} is not there, and {above} cannot be written", f'sudo chown "$USER" {_q(above)}')
    if not folder.is_dir():
        return code.fail(f"{folder} is no folder", f"mv {_q(folder)} {_q(folder)}.file")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return code.fail(
            f"{folder} cannot be written", f"chmod 700 {_q(folder)}", fix=safe("chmod", "700", str(folder))
        )
    if (open_to := stat.S_IMODE(folder.stat().st_mode) & 0o077) != 0:
        said = f"{folder} is open to other users of this machine (mode {open_to:03o})"
        return code.warn(said, f"chmod 700 {_q(folder)}", fix=safe("chmod", "700", str(folder)))
    return code.ok(str(folder))


def _disk(visit: Visit) -> Finding:
    settings = visit.settings
    wanted = settings.max_parallel * settings.max_disk_mib
    places = {name: _existing(place) for name, place in (("state", settings.state_dir), ("work", settings.workspaces))}
    free = {name: shutil.disk_usage(place).free // MIB for name, place in places.items()}
    name = min(free, key=lambda each: free[each])
    said = f"{free[name]} MiB are free at {places[name]}"
    if free[name] < wanted:
        said += f"; {settings.max_parallel} runs may fill {wanted}"
        clean = [visit.agentd("clean")] if visit.store is not None else []
        less = f"export AGENTD_MAX_DISK_MIB={max(1, free[name] // 2 // settings.max_parallel)}"
        return DISK.warn(said, "\n".join([*clean, less]))
    return DISK.ok(said)


def _file(visit: Visit) -> Iterator[Finding]:
    path = visit.settings.state_dir / "agentd.db"
    if visit.store_trouble:
        trouble = visit.store_trouble
        if "older than" in trouble:
            yield FILE.fail(trouble, visit.agentd("start"))
        elif visit.settings.database_url or "newer than" in trouble:
            yield FILE.fail(
                trouble, "pip install --upgrade agentd" if "newer" in trouble else "export AGENTD_DATABASE_URL="
            )
        else:
            yield FILE.fail(trouble, _mend(visit, path, trouble))
        return
    store = visit.store
    if store is None:
        yield FILE.ok("not there yet; the first run makes it")
        return
    try:
        found = damage(store)
        if found:
            yield INTEGRITY.fail("; ".join(found), _aside(visit, path), evidence=tuple(found))
            return
        looked, wrong = broken_links(store, NEWEST_EVENTS)
    except StoreError as error:
        yield INTEGRITY.fail(str(error), _mend(visit, path, str(error)))
        return
    yield FILE.ok(f"{store.name}")
    yield INTEGRITY.ok("sound" if store.is_sqlite else "looked after by PostgreSQL")
    if wrong:
        said = f"the chain breaks at sequence {', '.join(str(seq) for seq in wrong[:5])}"
        yield LEDGER.fail(said, _aside(visit, path), evidence=tuple(str(seq) for seq in wrong[:50]))
    else:
        yield LEDGER.ok(f"the chain holds over the newest {looked} events")


def _engine(visit: Visit) -> Iterator[Finding]:
    """With PostgreSQL it is a schema of the same database."""
    path = visit.settings.state_dir / "engine.db"
    if visit.settings.database_url or not path.is_file():
        return
    found = damage_of(path)
    if found:
        yield ENGINE.fail("; ".join(found), _aside(visit, path), evidence=tuple(found))
    else:
        yield ENGINE.ok("sound")


def _mend(visit: Visit, path: Path, trouble: str) -> str:
    """What to run about a file that cannot be used: one that is not damaged keeps its place."""
    if "is damaged" in trouble:
        return _aside(visit, path)
    return f"fuser -v {_q(path)}" if "locked" in trouble else f"ls -l {_q(path)}"


def _aside(visit: Visit, path: Path) -> str:
    """Moves a database away once nobody writes it, with the log beside it, which may have its newest rows."""
    new_folder = f"mktemp -d {_q(path.parent / f'{path.stem}-XXXXXX')}"
    return f'{visit.agentd("stop", "--now")}\nmv {_q(path)}* "$({new_folder})"'


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _q(path: Path) -> str:
    return shlex.quote(str(path))
