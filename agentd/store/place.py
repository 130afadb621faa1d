"""Where a SQLite store is. A copy of its file elsewhere is another installation, and must not act as the first one."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from agentd.model import Event
from agentd.states import RunState
from agentd.store import attempts, claims, executors, ledger, runs, schema
from agentd.store.connection import Store

COPIED = "given way: the state directory was copied or restored, and the run belongs to where it was"


def settle(store: Store, repo: str, machine: str = "") -> bool:
    """Give the store a new installation id when its file is not where it was made; True when that was so.

    Claims that the remote has under the old id are somebody else's from then on, and are waited for. What the store
    says of living processes and their runs is ended here without charging an attempt: the installation that they
    belong to may live. Call it only where no other process works with the store. PostgreSQL is one place for everybody.
    `machine` is this one's name when it is not to be looked up.
    """
    if store.path is None:
        return False
    place = place_of(store.path, machine or machine_name())
    with store.read() as connection:
        known = _meta(connection, "place")
    if known == place:
        return False
    if known is not None:
        _give_way(store, repo)
    with store.write() as connection:
        if known is None:
            connection.execute(insert(schema.meta).values(key="place", value=place))
        else:
            _change(connection, "place", place)
            _change(connection, "installation_id", uuid.uuid4().hex[:12])
    return known is not None


def _give_way(store: Store, repo: str) -> None:
    for run in runs.active_runs(store):
        attempts.refund(store, run.run_id)
        runs.change_state(store, run.run_id, RunState.cancelled, reason=COPIED)
        ledger.append(store, _event(store, repo, run.run_id, run.task_id))
    for row in claims.list_claims(store):
        claims.drop(store, row.claim.task_id)
    for executor in executors.all_executors(store):
        executors.leave(store, executor.executor)


def place_of(path: Path, machine: str) -> str:
    """`<machine>/<file system>/<inode>`: all three stay when a folder is renamed, and one changes with a copy."""
    # Not the device's number, which another boot may give to another disk.
    system = os.statvfs(path).f_fsid or path.stat().st_dev
    return f"{machine}/{system:x}/{path.stat().st_ino}"


def machine_name() -> str:
    """Names this machine, one way; one without /etc/machine-id, a container for instance, by its host name."""
    file = Path("/etc/machine-id")
    name = (file.read_text().strip() if file.is_file() else "") or socket.gethostname()
    return hashlib.sha256(f"agentd\n{name}".encode()).hexdigest()[:12]


def _meta(connection: Connection, key: str) -> str | None:
    found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar()
    return None if found is None else str(found)


def _change(connection: Connection, key: str, value: str) -> None:
    connection.execute(update(schema.meta).where(schema.meta.c.key == key).values(value=value))


def _event(store: Store, repo: str, run_id: str, task_id: str) -> Event:
    now = store.clock.now()
    return Event(
        event_id=f"evt_{int(now.timestamp() * 1000)}_{uuid.uuid4().hex[:6]}",
        timestamp=now,
        source="supervisor",
        event_type="run_failed",
        repo=repo,
        task_id=task_id,
        run_id=run_id,
        status="skipped",
        data={"reason": "copied_state", "message": COPIED},
    )
