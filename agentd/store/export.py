"""The ledger for other programs: JSON lines or Parquet. What is written meanwhile is not in it: a prefix, and whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from agentd.errors import ConfigurationError
from agentd.model import canonical_json
from agentd.store.connection import Store
from agentd.store.ledger import Row, rows

BATCH = 50_000
TEXTS = ("event_id", "source", "event_type", "repo", "task_id", "run_id", "status", "branch", "worktree")


def write_jsonl(store: Store, file: IO[bytes]) -> int:
    """Write {seq, prev, hash, event} a line; how many. `link(seq, prev, canonical_json(event))` is the hash."""
    number = 0
    for seq, _, _, _, body, prev, made in rows(store):
        file.write(f'{{"seq":{seq},"prev":"{prev}","hash":"{made}","event":{body}}}\n'.encode())
        number += 1
    return number


def write_parquet(store: Store, path: Path) -> int:
    """Write a Parquet file, with `data` and the whole event as JSON text; how many rows. Raises ConfigurationError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigurationError(
            "Parquet needs pyarrow, which is not installed: `pip install 'agentd[parquet]'`, or take --format jsonl"
        ) from None
    columns = {
        "seq": pyarrow.int64(),
        "timestamp": pyarrow.timestamp("us", tz="UTC"),
        **dict.fromkeys(TEXTS, pyarrow.string()),
        "issue_number": pyarrow.int64(),
        "attempt": pyarrow.int64(),
        **dict.fromkeys(("data", "body", "prev", "hash"), pyarrow.string()),
    }
    schema, number = pyarrow.schema(columns.items()), 0
    every = rows(store)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := [_record(row) for row in islice(every, BATCH)]:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            number += len(batch)
    return number


def _record(row: Row) -> dict[str, Any]:
    seq, _, _, _, body, prev, made = row
    event = json.loads(body)
    known = {name: event.get(name) for name in (*TEXTS, "issue_number", "attempt")}
    data = canonical_json(event.get("data"))
    at = datetime.fromisoformat(event["timestamp"])
    return {"seq": seq, "timestamp": at, **known, "data": data, "body": body, "prev": prev, "hash": made}


def lines_after(store: Store, seq: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(sequence number, event as JSON values) of what is there behind `seq`."""
    from agentd.store.ledger import events_after

    while found := events_after(store, seq):
        for seq, body in found:  # the last one is gone on from
            yield seq, json.loads(body)
