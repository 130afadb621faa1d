"""Contracts: all errors at once, with file and JSON path; cycles and dangling dependencies are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentd.contracts import read_contracts, require_valid
from agentd.errors import ConfigurationError

GOOD: dict[str, Any] = {
    "task_id": "P0-01",
    "title": "Title",
    "goal": "Goal",
    "inputs": ["i"],
    "expected_outputs": ["o"],
    "constraints": ["c"],
    "verify_command": "true",
    "definition_of_done": ["d"],
    "rollback_note": "revert",
    "phase": "foundation",
    "priority": "high",
    "track": "runtime",
    "risk_level": "low",
}


def write(folder: Path, task_id: str, **changes: Any) -> None:
    (folder / f"{task_id}.json").write_text(json.dumps(GOOD | {"task_id": task_id} | changes))


def test_good_contracts_are_read(tmp_path: Path) -> None:
    write(tmp_path, "P0-01")
    write(tmp_path, "P0-02", dependencies=["P0-01"])
    found = read_contracts(tmp_path)
    assert not found.problems
    assert found.by_id["P0-02"].dependencies == ("P0-01",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verify_command": ""}, "P0-01.json: $.verify_command"),
        ({"inputs": []}, "P0-01.json: $.inputs"),
        ({"phase": "later"}, "P0-01.json: $.phase"),
        ({"extra": 1}, "P0-01.json: $: Additional properties"),
        ({"task_id": "P9-01"}, "P0-01.json: $.task_id"),
        ({"task_id": "P0-02"}, "the file is named 'P0-01'"),
        ({"dependencies": ["P3-99"]}, "'P3-99' has no contract"),
        ({"dependencies": ["P0-01"]}, "cycle P0-01 -> P0-01"),
    ],
)
def test_a_problem_names_file_and_path(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    (tmp_path / "P0-01.json").write_text(json.dumps(GOOD | changes))
    assert any(said in problem for problem in read_contracts(tmp_path).problems)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, "P0-01", goal="", title="")
    (tmp_path / "P0-02.json").write_text("{")
    write(tmp_path, "P1-01", dependencies=["P1-02"])
    write(tmp_path, "P1-02", dependencies=["P1-01"])
    with pytest.raises(ConfigurationError) as caught:
        require_valid(read_contracts(tmp_path), tmp_path)
    said = str(caught.value)
    assert all(part in said for part in ("$.goal", "$.title", "P0-02.json: not JSON", "cycle", "4 problem(s)"))
