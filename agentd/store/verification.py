"""Does the ledger still say what was written? Every place where it does not, named by sequence number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from json import dumps

from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.ledger import Row, link, rows

MOST_BAD = 500
"""Rows that are looked into; of further ones only the number is told."""


@dataclass(frozen=True)
class Signed:
    """What a checkpoint says: at this sequence number the ledger had this hash."""

    seq: int
    hash: str
    said: str = ""
    """when, or where it stands; for messages"""


@dataclass
class _Findings:
    """What a walk over all rows has found."""

    missing: list[tuple[int, int]] = field(default_factory=list)
    """first and last number of each gap"""
    broken: list[Row] = field(default_factory=list)
    """rows whose hash is not that of their number, predecessor and text"""
    unchained: list[tuple[int, int]] = field(default_factory=list)
    """(before, after): sound rows of which the later one was written behind another one"""
    mislabelled: list[int] = field(default_factory=list)
    """rows whose columns say something else than their text"""
    early: list[int] = field(default_factory=list)
    """numbers that no row can have"""
    more: int = 0
    last: int = 0


def problems(store: Store, signed: Iterable[Signed] = ()) -> Iterator[str]:
    """One line for each place where the ledger was changed by hand; nothing when it verifies.

    A chain that was made anew from some row on to its end is whole in itself: that, and rows cut off at the end, only
    checkpoints can tell.
    """
    marks = {mark.seq: mark for mark in signed}
    wrong: list[Signed] = []
    found = _walk(rows(store), marks, wrong)
    yield from _told(found)
    for mark in sorted(wrong, key=lambda each: each.seq):
        yield f"sequence {mark.seq}: the ledger was written anew up to here since the checkpoint{mark.said}"
    last = max(marks, default=0)
    if last > found.last:
        yield f"{_span(found.last + 1, last)}: cut off at the end; a checkpoint{marks[last].said} has signed them"


def _walk(every: Iterator[Row], marks: dict[int, Signed], wrong: list[Signed]) -> _Findings:
    """This loop runs once a row: a million times, so it calls little."""
    found = _Findings()
    expected, before, last_sound = 1, schema.GENESIS, True
    for row in every:
        seq, event_id, run_id, task_id, body, prev, made = row
        if seq < expected:
            found.early.append(seq)
            continue
        if seq != expected:
            found.missing.append((expected, seq - 1))
        sound = made == sha256(f"{prev}\n{seq}\n{body}".encode()).hexdigest()
        if not sound:
            if len(found.broken) < MOST_BAD:
                found.broken.append(row)
            else:
                found.more += 1
        elif prev != before and seq == expected and last_sound:
            found.unchained.append((seq - 1, seq))
        elif not (
            _holds(body, "event_id", event_id) and _holds(body, "run_id", run_id) and _holds(body, "task_id", task_id)
        ):
            found.mislabelled.append(seq)
        if seq in marks and marks[seq].hash != made:
            wrong.append(marks[seq])
        expected, before, last_sound = seq + 1, made, sound
    found.last = expected - 1
    return found


def _holds(body: str, key: str, value: str) -> bool:
    return f'"{key}":"{value}"' in body or f'"{key}":{dumps(value, ensure_ascii=False)}' in body


def _told(found: _Findings) -> Iterator[str]:
    for seq in found.early:
        yield f"sequence {seq}: inserted before the first row"
    for first, last in found.missing:
        yield f"{_span(first, last)}: removed"
    origins = _origins(found)
    moved = {seq: origin for seq, origin in origins.items() if origin is not None}
    for first, last, shift in _runs(moved):
        where = _span(first, last)
        if shift > 0 and first - shift not in moved and first != last:
            yield f"{where}: moved on by {shift}; a row was inserted before them"
        elif shift < 0 and first != last:
            yield f"{where}: moved up by {-shift}; a row was removed before them"
        else:
            yield f"{where}: holds the row of sequence {first - shift} (reordered)"
    for row in found.broken:
        if row[0] not in moved:
            yield f"sequence {row[0]}: changed"
    if found.more:
        yield f"{found.more} further rows after sequence {found.broken[-1][0]}: changed or moved"
    for before, after in found.unchained:
        yield f"sequence {before}: changed or inserted; sequence {after} was written behind another row"
    for seq in found.mislabelled:
        yield f"sequence {seq}: changed; its columns say something else than its text"


def _origins(found: _Findings) -> dict[int, int | None]:
    """Of each broken row, the number it was written with, as far as that can be told: its hash knows it."""
    gaps = [seq for first, last in found.missing for seq in range(first, min(last, first + MOST_BAD) + 1)]
    numbers = [row[0] for row in found.broken] + gaps
    origins: dict[int, int | None] = {}
    shift = 0
    for seq, _, _, _, body, prev, made in found.broken:
        near = [seq - shift, seq - 1, seq + 1]
        origin = next((each for each in (*near, *numbers) if each != seq and link(each, prev, body) == made), None)
        shift = seq - origin if origin is not None else shift
        origins[seq] = origin
    return origins


def _runs(moved: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    """(first, last, shift) of rows beside each other that were moved by the same number."""
    open_run: tuple[int, int, int] | None = None
    for seq, origin in sorted(moved.items()):
        if open_run is not None and seq == open_run[1] + 1 and seq - origin == open_run[2]:
            open_run = (open_run[0], seq, open_run[2])
            continue
        if open_run is not None:
            yield open_run
        open_run = (seq, seq, seq - origin)
    if open_run is not None:
        yield open_run


def _span(first: int, last: int) -> str:
    return f"sequence {first}" if first == last else f"sequences {first} to {last}"
