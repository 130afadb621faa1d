"""What of a run's evidence differs between two runs that did the same: everything else is compared byte for byte.

`settled` takes a record to the one that every such run has: a name instead of its id, and times by its order instead of
by the clock. What is left to the files themselves stands in KEYS.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from agentd.model import Decision, Event, Step, root_step_id, step_id_of
from agentd.store.spending import Call
from agentd.trace.places import Places
from agentd.trace.span import RunRecord

KEYS = frozenset({"timestamp", "wall_clock_seconds", "code", "ledger"})
"""Of manifest.json: when it was written, how long the run took, which agentd it was, where its ledger stood."""
BEGIN = datetime(2025, 5, 6, tzinfo=UTC)
TICK = timedelta(milliseconds=1)
RUN_ID = "<run>"
UNANSWERED = 499
"""Status of a model call whose client went away."""
SHA = "0" * 40
"""For commits: they have times in them."""


def settled(record: RunRecord, name: str = RUN_ID) -> RunRecord:
    """The same record under a name, each of its parts a millisecond after the one before.

    A stage's agent comes first, then its model calls, tool calls, retries and decisions, each kind in its own order:
    how they fall between each other is up to the machine. So is what was under way when a run was halted: a model call
    without an answer is left out, and the tool call that halted it counts as denied, whether its agent still said so or
    not. What agents say of themselves has ids of their own and is left out. It is a copy of what it is given; nothing
    is written.
    """
    clock = _Clock()
    begin = clock.tick()
    children: dict[str, list[Step]] = defaultdict(list)
    for step in record.steps:
        children[step.parent_id].append(step)
    made: list[Step] = []
    calls: list[Call] = []
    events: list[tuple[int, Event]] = []
    place = Places(record)
    calls_in: dict[str, list[Call]] = defaultdict(list)
    for call in record.calls:
        if call.state == "open" or call.status == UNANSWERED:
            continue
        calls_in[place.at(datetime.fromisoformat(call.started_at))].append(call)
    events_in: dict[str, list[Event]] = defaultdict(list)
    for _, event in record.events:
        events_in[place.at(event.timestamp)].append(event)

    halted = _halted(record, place)

    def take_in(step_id: str) -> None:
        """What happened during a step and has no parent of its own."""
        for call in calls_in[step_id]:
            at = clock.tick().isoformat()
            calls.append(call._replace(started_at=at, finished_at=at))
        for event in events_in[step_id]:
            events.append((len(events) + 1, event.model_copy(update={"timestamp": clock.tick(), "run_id": name})))

    def walk(old_parent: str, new_parent: str) -> None:
        for step in sorted(children[old_parent], key=lambda each: (_RANK[each.kind], each.started_at)):
            new_id = step_id_of(name, new_parent, step.kind, step.name, place.number(new_parent, step.kind, step.name))
            at, slot = clock.tick(), len(made)
            made.append(step)
            walk(step.step_id, new_id)
            take_in(step.step_id)
            update = {"run_id": name, "step_id": new_id, "parent_id": new_parent, "started_at": at}
            ended = {"ended_at": clock.tick()} if step.ended_at or step.step_id in halted else {}
            made[slot] = step.model_copy(update=update | ended | halted.get(step.step_id, {}))

    walk(root_step_id(record.run.run_id), root_step_id(name))
    take_in(root_step_id(record.run.run_id))
    shas = {name: SHA if getattr(record.run, name) else "" for name in ("base_sha", "head_sha")}
    run = record.run.model_copy(update={"run_id": name, "started_at": begin, "executor": "", **shas})
    return RunRecord(
        run, record.task, record.repo, clock.tick(), steps=tuple(made), calls=tuple(calls), events=tuple(events)
    )


def _halted(record: RunRecord, place: Places) -> dict[str, dict[str, str]]:
    """Of each tool call that halted its run, what is the same whether its agent heard of that or not."""
    found = {}
    for _, event in record.events:
        if event.event_type == "policy_decided" and event.data.get("verdict") == Decision.halt:
            turn = place.at(event.timestamp)
            calls = [each for each in record.steps if each.parent_id == turn and each.kind == "tool_call"]
            if calls:
                last = max(calls, key=lambda each: each.started_at)
                told = last.summary.partition(": denied by the policy")[0]
                found[last.step_id] = {"state": "denied", "summary": told, "output_fingerprint": ""}
    return found


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
