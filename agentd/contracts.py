"""Task contracts: `tasks/*.json`, checked against the schema, with their dependency graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from agentd.errors import ConfigurationError
from agentd.model import Contract

SCHEMA = Path(__file__).parent / "schemas" / "task-contract.schema.json"


@dataclass(frozen=True)
class Contracts:
    """What a folder of contracts holds: the good ones by task id, and every problem, each naming file and JSON path."""

    by_id: dict[str, Contract]
    problems: tuple[str, ...]


def read_contracts(folder: Path) -> Contracts:
    """All contracts of a folder; a folder that is not there holds none. Problems are collected, not raised."""
    good: dict[str, Contract] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        contract = _read(path, problems)
        if contract is None:
            continue
        if contract.task_id != path.stem:
            problems.append(f"{path.name}: $.task_id: is {contract.task_id!r}, but the file is named {path.stem!r}")
        elif contract.task_id in good:
            problems.append(f"{path.name}: $.task_id: {contract.task_id!r} stands in another file too")
        else:
            good[contract.task_id] = contract
    problems += graph_problems(good)
    return Contracts(good, tuple(problems))


def require_valid(contracts: Contracts, folder: Path) -> dict[str, Contract]:
    """The contracts. Raises ConfigurationError with all problems at once."""
    if contracts.problems:
        listed = "\n  ".join(contracts.problems)
        raise ConfigurationError(f"{folder}: {len(contracts.problems)} problem(s) in the task contracts:\n  {listed}")
    return contracts.by_id


def graph_problems(contracts: Mapping[str, Contract]) -> list[str]:
    """Dependencies that name no contract, and cycles."""
    problems = [
        f"{task_id}.json: $.dependencies: {wanted!r} has no contract"
        for task_id, contract in contracts.items()
        for wanted in contract.dependencies
        if wanted not in contracts
    ]
    try:
        TopologicalSorter({task_id: contract.dependencies for task_id, contract in contracts.items()}).prepare()
    except CycleError as error:
        problems.append(f"$.dependencies: cycle {' -> '.join(error.args[1])}")
    return problems


def _read(path: Path, problems: list[str]) -> Contract | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {error.strerror}")
        return None
    except ValueError as error:
        problems.append(f"{path.name}: not JSON: {error}")
        return None
    found = [f"{path.name}: {error.json_path}: {error.message}" for error in _validator().iter_errors(value)]
    problems += sorted(found)
    return None if found else Contract.model_validate(value)


@cache
def _validator() -> Any:
    # Imported late: half of the commands read no contract, and this import costs as much as all the rest.
    from jsonschema import Draft202012Validator

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    if not isinstance(schema, dict):
        raise ConfigurationError(f"{SCHEMA}: damaged installation: not a JSON Schema")
    return Draft202012Validator(schema)
