"""`agentd ledger` and `agentd events`, as they are called."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentd.cli import app
from agentd.errors import AgentdError
from agentd.model import canonical_json
from agentd.store import ledger
from agentd.store.connection import Store
from agentd.store.projections import EventFiles, project
from tests.store.test_store import an_event

Call = Callable[..., Result]


@pytest.fixture
def call(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """An installation with three events; what is said on purpose is raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AGENT_LOG_DIR", str(tmp_path / "logs"))
    for number in range(3):
        ledger.append(store, an_event(store, number))
    project(store, tmp_path / "state", EventFiles(tmp_path / "logs" / "events.jsonl"))

    def run(*arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, AgentdError):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return run


def test_verify_says_that_it_holds_and_where_it_does_not(call: Call, tmp_path: Path) -> None:
    assert "3 events, 0 checkpoints: the ledger verifies" in call("ledger", "verify").output
    note = call("ledger", "checkpoint").output
    assert note.startswith("agentd/ledger/")
    assert "nothing has happened" in call("ledger", "checkpoint").output
    assert "3 events, 1 checkpoints: the ledger verifies" in call("ledger", "verify").output
    for name in ("checkpoints", "key.pub"):
        (tmp_path / name).write_bytes((tmp_path / "state" / "ledger" / name).read_bytes())
    with sqlite3.connect(tmp_path / "state" / "agentd.db") as file:
        file.execute("DROP TRIGGER events_no_delete")
        file.execute("DELETE FROM events WHERE seq = 3")
    kept = ("--checkpoints", "checkpoints", "--key", "key.pub")
    for arguments in ((), kept):
        found = json.loads(call("ledger", "verify", "--json", *arguments, status=1).stdout)
        assert not found["ok"]
        assert found["problems"][0].startswith("sequence 3: cut off at the end")


def test_an_export_can_be_checked_by_a_stranger(call: Call, tmp_path: Path) -> None:
    prev = "0" * 64
    for line in call("ledger", "export").stdout.splitlines():
        row = json.loads(line)
        assert row["prev"] == prev
        prev = ledger.link(row["seq"], prev, canonical_json(row["event"]))
        assert row["hash"] == prev
    call("ledger", "export", "--format", "jsonl", "--output", "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == call("ledger", "export").stdout
    with pytest.raises(AgentdError, match="jsonl or parquet, not 'csv'"):
        call("ledger", "export", "--format", "csv")
    with pytest.raises(AgentdError, match="out: cannot be written"):
        call("ledger", "export", "--output", "no/such/folder/out")


def test_parquet_has_the_same_rows(call: Call, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    call("ledger", "export", "--format", "parquet", "--output", "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert [json.loads(row["data"])["n"] for row in rows] == [0, 1, 2]
    assert rows[0]["hash"] == rows[1]["prev"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_what_is_written_meanwhile_is_not_exported(store: Store, call: Call) -> None:
    from agentd.store.export import write_jsonl

    class Slow:
        """Somebody writes an event whenever a line is written."""

        lines: list[bytes] = []  # noqa: RUF012

        def write(self, line: bytes) -> None:
            self.lines.append(line)
            ledger.append(store, an_event(store, 100 + len(self.lines)))

    assert write_jsonl(store, Slow()) == 3  # type: ignore[arg-type]
    assert [json.loads(line)["seq"] for line in Slow.lines] == [1, 2, 3]
    assert ledger.count(store) == 6


def test_tails_show_the_last_events_as_plain_lines(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.split()[0] for line in call("ledger", "tail", "-n", "2").output.splitlines()] == ["2", "3"]
    shown = call("events", "tail", "-n", "1").output
    assert "run_failed" in shown and "n 2" in shown
    nasty = json.loads(call("events", "tail", "-n", "1", "--json").output)
    nasty["run_id"] = "\x1b[2J\nrun"
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(nasty) + "\n" + json.dumps({**nasty, "schema_version": 7}) + "\nnonsense\n")
    monkeypatch.setenv("AGENT_EVENTS_FILE", str(other))
    first, second, third = call("events", "tail").output.splitlines()
    assert "\x1b" not in first
    assert "schema version 7, which this agentd does not read" in second
    assert third == "no event: nonsense"


def test_validate_counts_events_and_names_bad_lines(call: Call, tmp_path: Path) -> None:
    assert call("events", "validate").output == "Validated 3 event(s)\n"
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    result = call("events", "validate", str(bad), status=1)
    assert "bad.jsonl:1: $: 'schema_version' is a required property" in result.output
    with pytest.raises(AgentdError, match="cannot be read"):
        call("events", "validate", "none.jsonl")
