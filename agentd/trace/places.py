"""Where in a run something belongs that has a time, but no parent of its own."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from agentd.model import Step, root_step_id
from agentd.trace.span import RunRecord


class Places:
    """Where what has a time, but no parent of its own, belongs: to what was going on then."""

    def __init__(self, record: RunRecord) -> None:
        self._root = root_step_id(record.run.run_id)
        self._ended = record.ended_at
        self._stages = [step for step in record.steps if step.kind == "stage"]
        self._turns = [step for step in record.steps if step.kind == "agent_turn"]
        self._ends = {step.step_id: step.ended_at or record.ended_at for step in record.steps}
        self._numbers: dict[tuple[str, ...], int] = defaultdict(int)

    def end_of(self, step: Step) -> datetime:
        """When a step ended; one that was interrupted ends with its parent."""
        return step.ended_at or self._ends.get(step.parent_id, self._ended)

    def stage_at(self, at: datetime) -> str:
        return self._latest(self._stages, at) or self._root

    def at(self, at: datetime) -> str:
        """The agent's turn at that time, else the stage, else the run."""
        return self._latest(self._turns, at) or self.stage_at(at)

    def number(self, *what: str) -> int:
        """How many of these there were, with this one."""
        self._numbers[what] += 1
        return self._numbers[what]

    def _latest(self, steps: list[Step], at: datetime) -> str:
        found = [step for step in steps if step.started_at <= at <= self.end_of(step)]
        return max(found, key=lambda step: step.started_at).step_id if found else ""
