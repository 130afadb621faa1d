"""What the doctor found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from agentd.model import Frozen

Status = Literal["ok", "warning", "failure"]
RANK: tuple[Status, ...] = ("ok", "warning", "failure")


class Check(Frozen):
    """One thing that was looked at."""

    name: str
    """`group.thing`, for programs"""
    status: Status
    observed: str
    remedy: str = ""
    """what to do; empty when all is well"""


def worst(checks: Sequence[Check]) -> Status:
    """The worst status of all."""
    return max((check.status for check in checks), key=RANK.index, default="ok")


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """{schema_version, status, checks}."""
    return {
        "schema_version": 1,
        "status": worst(checks),
        "checks": [check.model_dump(mode="json") for check in checks],
    }


def as_text(checks: Sequence[Check]) -> str:
    """A line a check, and its remedy below."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:8} {check.name}: {check.observed}")
        lines += [f"         -> {check.remedy}"] if check.remedy else []
    return "\n".join(lines)
