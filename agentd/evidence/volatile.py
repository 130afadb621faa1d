"""What of a run's evidence differs between two runs that did the same: everything else is compared byte for byte.

`settled` takes a record to the one that every such run has: a name instead of its id, and times by its order instead of
by the clock. What is left to the files themselves stands in KEYS.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agentd.model import Event, Step, root_step_id, step_id_of
from agentd.store.spending import Call
from agentd.trace.spans import RunRecord

KEYS = frozenset({"timestamp", "wall_clock_seconds", "code", "ledger"})
"""Of manifest.json: when it was written, how long the run took, which agentd it was, where its ledger stood."""
BEGIN = datetime(2025, 5, 6, tzinfo=UTC)
TICK = timedelta(milliseconds=1)
RUN_ID = "<run>"
SHA = "0" * 40
"""For commits: they have times in them."""


def settled(record: RunRecord) -> RunRecord:
    """The same record under the name `<run>`, each of its parts a millisecond after the one before.

    A stage's agent comes first, then its model calls, tool calls, retries and decisions, each kind in its own order:
    how they fall between each other is up to the machine. A copy of what it is given; nothing is written.
    """
    clock = _Clock()
    begin = clock.tick()
    children: dict[str, list[Step]] = defaultdict(list)
    for step in record.steps:
        children[step.parent_id].append(step)
    made: list[Step] = []
    calls: list[Call] = []
    events: list[tuple[int, Event]] = []
    left_calls = list(record.calls)
    left_events = [event for _, event in record.events]

    def within(step: Step, at: datetime) -> bool:
        return step.started_at <= at <= (step.ended_at or record.ended_at)

    def take_in(step: Step) -> None:
        """What happened during a step and has no parent of its own."""
        for call in [each for each in left_calls if within(step, datetime.fromisoformat(each.started_at))]:
            left_calls.remove(call)
            at = clock.tick()
            calls.append(
                call._replace(started_at=at.isoformat(), finished_at=at.isoformat() if call.finished_at else None)
            )
        for event in [each for each in left_events if within(step, each.timestamp)]:
            left_events.remove(event)
            events.append((len(events) + 1, event.model_copy(update={"timestamp": clock.tick(), "run_id": RUN_ID})))

    def walk(old_parent: str, new_parent: str) -> None:
        for step in sorted(children[old_parent], key=lambda each: (_RANK[each.kind], each.started_at)):
            new_id = step_id_of(RUN_ID, new_parent, step.kind, step.name, step.attempt)
            at, slot = clock.tick(), len(made)
            made.append(step)
            walk(step.step_id, new_id)
            take_in(step)
            update = {"run_id": RUN_ID, "step_id": new_id, "parent_id": new_parent, "started_at": at}
            made[slot] = step.model_copy(update=update | {"ended_at": clock.tick() if step.ended_at else None})

    walk(root_step_id(record.run.run_id), root_step_id(RUN_ID))
    for call in left_calls:
        at = clock.tick()
        calls.append(call._replace(started_at=at.isoformat(), finished_at=at.isoformat()))
    for event in left_events:
        events.append((len(events) + 1, event.model_copy(update={"timestamp": clock.tick(), "run_id": RUN_ID})))
    shas = {name: SHA if getattr(record.run, name) else "" for name in ("base_sha", "head_sha")}
    run = record.run.model_copy(update={"run_id": RUN_ID, "started_at": begin, "executor": "", **shas})
    return replace(record, run=run, ended_at=clock.tick(), steps=tuple(made), calls=tuple(calls), events=tuple(events))


_RANK = {
    "run": 0, "stage": 0, "agent_turn": 1, "model_call": 2, "tool_call": 3, "retry_attempt": 4, "policy_check": 5,
}  # fmt: skip


class _Clock:
    """A millisecond each time that it is asked."""

    def __init__(self) -> None:
        self._now = BEGIN

    def tick(self) -> datetime:
        self._now += TICK
        return self._now
