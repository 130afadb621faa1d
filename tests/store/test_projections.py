"""The files that are made from the store: repaired, rotated, and read line by line."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError
from agentd.store import ledger
from agentd.store.connection import Store
from agentd.store.event_lines import check_lines, last_lines
from agentd.store.projections import EventFiles, earlier_files, project
from tests.store.test_store import a_run, an_event


def test_projections_follow_the_store_and_are_repaired(store: Store, tmp_path: Path) -> None:
    file, state = tmp_path / "logs" / "events.jsonl", tmp_path / "state"
    a_run(store)
    ledger.append(store, an_event(store, 1))
    project(store, state, EventFiles(file))
    ledger.append(store, an_event(store, 2))
    with file.open("a") as opened:
        opened.write('{"torn')
    assert check_lines(file) == (
        1,
        [f"{file}:2: ends in the middle of a line; agentd mends that the next time it writes"],
    )
    project(store, state, EventFiles(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["data"]["n"] for line in lines] == [1, 2]
    assert check_lines(file) == (2, [])
    record = json.loads((state / "runs.json").read_text())[0]
    assert (record["status"], record["task_id"], record["branch"]) == ("running", "P0-01", "agent/P0-01")
    file.unlink()
    project(store, state, EventFiles(file))
    assert len(file.read_text().splitlines()) == 2


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A disk with so much room for each file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_lines_and_the_rest_comes_later(store: Store, tmp_path: Path) -> None:
    files, state = EventFiles(tmp_path / "events.jsonl"), tmp_path / "state"
    ledger.append(store, an_event(store, 0))
    project(store, state, files)
    before = files.path.read_bytes()
    for number in (1, 2):
        ledger.append(store, an_event(store, number))
    for room in (1, len(before) + 20):
        with files_end_at(len(before) + room), pytest.raises(OSError, match="File too large"):
            project(store, state, files)
        assert files.path.read_bytes() == before
    project(store, state, files)
    assert [json.loads(line)["data"]["n"] for line in files.path.read_text().splitlines()] == [0, 1, 2]


def test_runs_that_could_not_be_written_are_written_without_a_new_event(store: Store, tmp_path: Path) -> None:
    files, state = EventFiles(tmp_path / "events.jsonl"), tmp_path / "state"
    a_run(store)
    ledger.append(store, an_event(store, 1))
    (state / "runs.json.new").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        project(store, state, files)
    (state / "runs.json.new").rmdir()
    project(store, state, files)
    assert [record["task_id"] for record in json.loads((state / "runs.json").read_text())] == ["P0-01"]


def test_a_large_file_of_events_makes_room_for_a_new_one(store: Store, tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "events.jsonl", max_bytes=500, kept=2)
    (tmp_path / "events.notes.jsonl").write_text("somebody else's\n")
    for number in range(12):
        ledger.append(store, an_event(store, number))
        project(store, tmp_path / "state", files)
    earlier = earlier_files(files.path)
    assert len(earlier) == 2
    kept = [json.loads(line)["data"]["n"] for file in [*earlier, files.path] for line in file.read_text().splitlines()]
    assert kept == list(range(kept[0], 12))
    last = json.loads(earlier[-1].read_text().splitlines()[-1])["data"]["n"]
    assert earlier[-1].name == f"events.{last + 1}.jsonl"
    # A lost file is written anew, and no other one with it.
    there = files.path.read_bytes()
    files.path.unlink()
    project(store, tmp_path / "state", files)
    assert files.path.read_bytes() == there != b""
    assert (tmp_path / "events.notes.jsonl").exists()


BAD = {
    "no json\n": "is not JSON",
    "[1]\n": "is not of type 'object'",
    '{"schema_version": 2}\n': "is an event of schema version 2, which only a later agentd reads",
    '{"schema_version": 1}\n': "'event_id' is a required property",
    "[" * 100_000 + "\n": "is not JSON",
}


@pytest.mark.parametrize("line", BAD, ids=[text[:20].strip() for text in BAD])
def test_a_line_that_does_not_follow_the_schema_is_named(store: Store, tmp_path: Path, line: str) -> None:
    file = tmp_path / "events.jsonl"
    good = ledger.body_of(an_event(store, 1)) + "\n"
    file.write_text(good + line + good)
    number, [bad] = check_lines(file)
    assert number == 2
    assert bad.startswith(f"{file}:2: ")
    assert BAD[line] in bad


def test_the_last_lines_are_whole_ones(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"n": {number}, "x": "{"y" * 300}"}}\n' for number in range(1000)) + '{"torn')
    lines, position = last_lines(file, 3)
    assert [json.loads(line)["n"] for line in lines] == [997, 998, 999]
    assert position == file.stat().st_size - len('{"torn')
    assert last_lines(file, 0)[0] == []
    assert len(last_lines(file, 5000)[0]) == 1000
    with pytest.raises(ConfigurationError, match="cannot be read"):
        last_lines(tmp_path / "none", 3)
