"""What a chaos run asks for: tasks with contracts, what each one's agent will do, and how it must end."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["good", "fails_once", "fixes", "blocked"]
TURNS: dict[Kind, int] = {"good": 1, "fails_once": 1, "fixes": 2, "blocked": 2}
"""The agent's turns in a run that nothing disturbs and that comes to its verify command."""


@dataclass(frozen=True)
class ChaosTask:
    """One task of the run."""

    task_id: str
    seconds: float
    """how long its agent works"""
    kind: Kind
    needs: tuple[str, ...] = ()

    @property
    def ends_blocked(self) -> bool:
        """True when its verify command can never pass."""
        return self.kind == "blocked"

    def contract(self) -> dict[str, Any]:
        """Its contract, as a file of tasks/ holds it."""
        return {
            "task_id": self.task_id,
            "title": f"Task {self.task_id}",
            "goal": "Write the file.",
            "inputs": ["-"],
            "expected_outputs": ["-"],
            "constraints": ["-"],
            "verify_command": f"test -f work-{self.task_id}.txt",
            "definition_of_done": ["-"],
            "rollback_note": "revert",
            "phase": "foundation",
            "priority": ("high", "medium", "low")[int(self.task_id[1]) % 3],
            "track": "runtime",
            "risk_level": "low",
            "dependencies": list(self.needs),
        }


def draw(count: int, seed: int, long_share: float, long_seconds: tuple[float, float]) -> list[ChaosTask]:
    """So many tasks. Three in ten need an earlier one; some fail at first, are mended by a second turn, end blocked."""
    choice = random.Random(seed)
    tasks: list[ChaosTask] = []
    for number in range(count):
        kind: Kind = choice.choices(("good", "fails_once", "fixes", "blocked"), (88, 4, 4, 4))[0]
        seconds = choice.uniform(*long_seconds) if choice.random() < long_share else choice.uniform(0.3, 1.5)
        earlier = [task.task_id for task in tasks if not task.ends_blocked]
        needs = (choice.choice(earlier),) if earlier and choice.random() < 0.3 else ()
        tasks.append(ChaosTask(f"P{number % 4}-{number // 4 + 1:02}", round(seconds, 1), kind, needs))
    return tasks
