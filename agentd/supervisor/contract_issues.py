"""From contracts to issues: labels and one issue a contract, made once and found again by its title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentd.github.client import GitHub
from agentd.github.issues import create_issue, find_issue
from agentd.github.labels import READY, ensure_labels
from agentd.model import Contract


@dataclass(frozen=True)
class Synced:
    """One contract and its issue; `number` is None when a dry run would make it."""

    task_id: str
    number: int | None
    made: bool


def sync_contracts(gh: GitHub, contracts: Mapping[str, Contract], *, dry_run: bool) -> list[Synced]:
    """Make the labels and the issues that are missing; an issue in any state with the title's id counts."""
    if not dry_run:
        ensure_labels(gh)
    done = []
    for contract in contracts.values():
        title = f"[{contract.task_id}] {contract.title}"
        found = find_issue(gh, title=title)
        if found is None and not dry_run:
            made = create_issue(gh, title, body_of(contract), labels_of(contract))
            done.append(Synced(contract.task_id, made.number, True))
        else:
            done.append(Synced(contract.task_id, found.number if found else None, False))
    return done


def labels_of(contract: Contract) -> tuple[str, ...]:
    """The labels of a contract's issue."""
    return (
        f"priority:{contract.priority}",
        f"phase:{contract.phase}",
        f"track:{contract.track}",
        f"risk:{contract.risk_level}",
        "status:todo",
        READY,
    )


def body_of(contract: Contract) -> str:
    """The issue's text, for people: agentd itself reads the contract's file."""
    lines = ["## Goal", "", contract.goal, ""]
    for heading, entries, mark in (
        ("Inputs", contract.inputs, "-"),
        ("Expected outputs", contract.expected_outputs, "-"),
        ("Constraints", contract.constraints, "-"),
        ("Definition of done", contract.definition_of_done, "- [ ]"),
        ("Dependencies", contract.dependencies, "-"),
    ):
        if entries:
            lines += [f"## {heading}", "", *(f"{mark} {entry}" for entry in entries), ""]
    lines += ["## Verify command", "", "```bash", contract.verify_command, "```", ""]
    lines += ["## Rollback note", "", contract.rollback_note, ""]
    return "\n".join(lines)
