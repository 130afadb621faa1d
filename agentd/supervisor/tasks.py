"""From an issue to a Task: with its contract when it has one, else from its own, cleaned text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agentd.config import Settings
from agentd.github.text import one_line, visible_text
from agentd.model import LEVELS, PHASES, Comment, Contract, Issue, Level, Phase, Task

TITLE_ID = re.compile(r"\[(P[0-3]-\d{2})\]")
TITLE_CHARACTERS = 200
NO_ROLLBACK = "Revert the merge commit."


def task_id_of(issue: Issue) -> str:
    """`P0-01` when the title says so, else `issue-<number>`."""
    match = TITLE_ID.search(issue.title)
    return match.group(1) if match else f"issue-{issue.number}"


def task_of(
    issue: Issue, contracts: Mapping[str, Contract], settings: Settings, comments: Sequence[Comment] = ()
) -> Task:
    """The Task of an issue. A contract's words come from its file alone; an issue never brings commands."""
    task_id = task_id_of(issue)
    contract = contracts.get(task_id)
    if contract is not None:
        return Task(
            task_id=task_id,
            issue_number=issue.number,
            title=contract.title,
            goal=contract.goal,
            verify_command=contract.verify_command,
            rollback_note=contract.rollback_note,
            contract=contract,
            dependencies=contract.dependencies,
            priority=contract.priority,
            phase=contract.phase,
            risk=contract.risk_level,
            created_at=issue.created_at,
        )
    title = one_line(visible_text(issue.title), TITLE_CHARACTERS) or f"Issue {issue.number}"
    goal = visible_text(issue.body).strip() or title
    for comment in comments:
        goal += f"\n\nComment by {comment.author}:\n\n{visible_text(comment.body).strip()}"
    return Task(
        task_id=task_id,
        issue_number=issue.number,
        title=title,
        goal=goal,
        verify_command=settings.verify_command,
        rollback_note=NO_ROLLBACK,
        priority=_label(issue, "priority", LEVELS, "medium"),
        phase=_phase(issue),
        risk=_label(issue, "risk", LEVELS, "medium"),
        created_at=issue.created_at,
    )


def order_of(task: Task) -> tuple[int, int, str, int]:
    """Sort key of dispatch: priority, then phase, then the oldest."""
    return (
        LEVELS.index(task.priority),
        PHASES.index(task.phase),
        task.created_at.isoformat(),
        task.issue_number,
    )


def profile_name(issue: Issue, settings: Settings) -> str:
    """The profile that a `profile:<name>` label asks for, else the default."""
    for label in issue.labels:
        if label.startswith("profile:"):
            return label.removeprefix("profile:")
    return settings.default_profile


def status_label(labels: Sequence[str]) -> str | None:
    """The issue's status label; of several, the one that a person must see first."""
    for name in ("blocked", "in-progress", "in-review", "todo"):
        if f"status:{name}" in labels:
            return f"status:{name}"
    return None


def _label(issue: Issue, kind: str, allowed: Sequence[Level], default: Level) -> Level:
    for value in allowed:
        if f"{kind}:{value}" in issue.labels:
            return value
    return default


def _phase(issue: Issue) -> Phase:
    for value in PHASES:
        if f"phase:{value}" in issue.labels:
            return value
    return "foundation"
