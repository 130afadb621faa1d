"""Ref names from task ids. A task id is checked here, so that no text of an issue ever becomes part of a ref."""

from __future__ import annotations

import re

from agentd.errors import ConfigurationError

TASK_ID = re.compile(r"(?:P[0-3]-[0-9]{2,9}|issue-[1-9][0-9]{0,9})")
FOLDER = "agent"
"""What the names of all tasks' branches begin with."""
_BRANCH = re.compile(rf"{FOLDER}/({TASK_ID.pattern})")


def branch_of(task_id: str) -> str:
    """`agent/<task id>`. Raises ConfigurationError for anything that is not a task id."""
    return f"{FOLDER}/{_checked(task_id)}"


def task_of(branch: str) -> str | None:
    """The task id of a branch that agentd made, or None."""
    match = _BRANCH.fullmatch(branch)
    return match.group(1) if match else None


def claim_ref(task_id: str) -> str:
    """`refs/agentd/claims/<task id>` on the remote."""
    return f"refs/agentd/claims/{_checked(task_id)}"


def work_ref(task_id: str) -> str:
    """`refs/agentd/work/<task id>`: what a run has made so far, on the remote, for another host of the fleet."""
    return f"refs/agentd/work/{_checked(task_id)}"


def base_ref(task_id: str) -> str:
    """`refs/agentd/base/<task id>` in the mirror: the base that the task's branch was last synced onto."""
    return f"refs/agentd/base/{_checked(task_id)}"


def _checked(task_id: str) -> str:
    if not TASK_ID.fullmatch(task_id):
        raise ConfigurationError(f"{task_id!r} is not a task id; expected P0-01 to P3-99 or issue-<number>")
    return task_id
