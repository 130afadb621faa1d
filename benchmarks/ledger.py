"""The ledger: durable events a second beside what the disk does, and how long it takes to check a million rows."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from agentd.clock import SystemClock
from agentd.model import Event
from agentd.store import ledger, schema
from agentd.store.connection import Store, open_store
from agentd.store.verification import problems
from benchmarks.rows import Row

WRITERS = 32
EACH = 600
SYNCS = 300
MILLION = 1_000_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(place: Path, rows: int = MILLION) -> list[Row]:
    """Events that 32 threads write and that are on the disk, and the check of `rows` of them. `place` is on a disk."""
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        synced = _fdatasync(Path(scratch) / "file")
        store = open_store("", Path(scratch) / "state", SystemClock())
        began = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda writer: _write(store, writer), range(WRITERS)))
        events = WRITERS * EACH / (time.perf_counter() - began)
        assert list(problems(store)) == []
        _fill(store, rows)
        began = time.perf_counter()
        assert list(problems(store)) == []
        seconds = time.perf_counter() - began
        store.close()
    beside = f"{events:.0f} durable events/s by {WRITERS} writers; fdatasync {synced:.0f}/s on the same disk"
    return [
        Row("ledger, an event", 1e6 / events, "us", 100, beside),
        Row(f"ledger, verify {rows:,}", seconds, "s", rows / 100_000, f"{rows / seconds:,.0f} rows/s"),
    ]


def _write(store: Store, writer: int) -> None:
    for number in range(EACH):
        ledger.append(store, _event(f"evt_{writer}_{number}", number))


def _fill(store: Store, rows: int) -> None:
    """As many rows as are wanted, without waiting for the disk at each."""
    seq, prev = ledger.last_row(store)
    insert = "INSERT INTO events (seq, event_id, run_id, task_id, body, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?)"
    with store.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER events_in_order")
        while seq < rows:
            batch = []
            for _ in range(min(rows - seq, 50_000)):
                seq += 1
                body = _BODY.replace('"evt_x"', f'"evt_{seq}"')
                made = ledger.link(seq, prev, body)
                batch.append((seq, f"evt_{seq}", "r", "P0-01", body, prev, made))
                prev = made
            connection.exec_driver_sql(insert, batch)
        for statement in schema.APPEND_ONLY["sqlite"]:
            connection.exec_driver_sql(statement)


def _event(event_id: str, number: int) -> Event:
    return Event(
        event_id=event_id,
        timestamp=NOW,
        source="worker",
        event_type="policy_decided",
        repo="alice/widget",
        task_id="P0-01",
        run_id="r",
        status="failed",
        data={"verdict": "deny", "kind": "command", "subject": "curl http://example.org", "n": number},
    )


_BODY = ledger.body_of(_event("evt_x", 1))


def _fdatasync(path: Path) -> float:
    """How often a second this disk confirms a write."""
    with path.open("wb") as file:
        began = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return SYNCS / (time.perf_counter() - began)
