"""The prompt of a run, from a template with strict variables: an unknown or missing one is an error."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

from agentd.errors import ConfigurationError
from agentd.github.text import fence, one_line
from agentd.model import Contract, Profile, Task

BUILT_IN = Path(__file__).with_name("prompt.md")
FEEDBACK_CHARACTERS = 8_000


def render(profile: Profile, task: Task, *, repo: str, run_id: str, branch: str, root: Path) -> str:
    """The prompt. Raises ConfigurationError naming the template and the variable that is wrong."""
    path = root / profile.prompt_template if profile.prompt_template else BUILT_IN
    try:
        template = string.Template(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: the prompt template of profile {profile.name!r} cannot be read: {error}"
        ) from None
    values = {
        "task_id": task.task_id,
        "run_id": run_id,
        "issue_number": str(task.issue_number),
        "branch": branch,
        "repo": repo,
        "title": task.title,
        "description": _describe(task),
        "verify_command": task.verify_command,
        "feedback": "",
    }
    try:
        return template.substitute(values)
    except KeyError as error:
        known = ", ".join(sorted(values))
        raise ConfigurationError(f"{path}: unknown variable ${error.args[0]}; known are {known}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def with_feedback(prompt: str, verify_command: str, exit_status: int, output: str) -> str:
    """The prompt of a fix round: the task again, and the end of what verify said."""
    tail = output[-FEEDBACK_CHARACTERS:]
    return (
        f"{prompt}\n## Your work so far did not pass\n\n"
        f"It stands in this folder. `{verify_command}` ended with {exit_status}; the end of its output:\n\n"
        f"{fence(tail)}\n\nMend it.\n"
    )


def with_refusal(prompt: str, refused: Sequence[str]) -> str:
    """The prompt of a fix round after work that may not be published: the task again, and why."""
    reasons = "\n".join(f"- {one_line(reason, 2_000)}" for reason in refused)
    return (
        f"{prompt}\n## Your work so far is not accepted\n\n"
        f"It stands in this folder. What is wrong with it:\n\n{reasons}\n\nMend that.\n"
    )


def with_conflict(prompt: str, files: Sequence[str], told: str) -> str:
    """The prompt of a run that goes on from a conflict: the task, and where both sides stand."""
    listed = "\n".join(f"- {one_line(name, 500)}" for name in files)
    return (
        f"{prompt}\n## A conflict to resolve first\n\n"
        f"Earlier work on this task stands in this folder, joined with what the base branch has become meanwhile. "
        f"They conflict in the files below, where git has marked both sides (<<<<<<<, =======, >>>>>>>). Resolve each "
        f"so that the task and the other change both hold, and leave no mark:\n\n{listed}\n\n"
        f"What git said:\n\n{fence(told[-FEEDBACK_CHARACTERS:])}\n"
    )


def _describe(task: Task) -> str:
    if task.contract is None:
        return fence(task.goal)
    contract: Contract = task.contract
    parts = [f"Goal: {contract.goal}"]
    for heading, lines in (
        ("Inputs", contract.inputs),
        ("Expected outputs", contract.expected_outputs),
        ("Constraints", contract.constraints),
        ("Definition of done", contract.definition_of_done),
    ):
        parts.append(f"{heading}:\n" + "\n".join(f"- {line}" for line in lines))
    parts.append(f"Rollback note: {contract.rollback_note}")
    return "\n\n".join(parts)
