"""What a run does, written down as Steps. They tell what happened; nothing is decided by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from agentd.agents.events import AgentEvent, Denied, Error, Final, Outcome, Retry, ToolCall, ToolResult, Usage
from agentd.errors import ClaimLost, StoreError, StoreRefused
from agentd.model import Step, StepState, canonical_json, fingerprint_of, root_step_id, stage_step_id, step_id_of
from agentd.policy.failures import classify
from agentd.policy.retry import Outcome as RetryOutcome
from agentd.run.desk import Desk, RunEnd
from agentd.sandbox.redact import redact
from agentd.store import steps
from agentd.store.connection import Store
from agentd.store.steps import SUMMARY_CHARACTERS

OPEN_CALLS = 1_000
"""Tool calls of one turn that may be without a result at the same time; older ones stay open."""
MOST_ATTEMPT = 2**31 - 1
"""What the column has room for; an agent counts its tries itself."""


_stage: ContextVar[str] = ContextVar("stage", default="")
"""The Step of the stage that is under way, for what does not know its stage."""


@contextmanager
def recorded_stage(desk: Desk, name: str) -> Iterator[None]:
    """A stage, which begins here or is taken up again. Whoever lost the claim writes down no end: it is another's."""
    run_id = desk.run.run_id
    step = _written(
        desk,
        Step(
            step_id=stage_step_id(run_id, name),
            run_id=run_id,
            parent_id=root_step_id(run_id),
            kind="stage",
            name=name,
            started_at=desk.context.clock.now(),
        ),
    )
    token = _stage.set(step.step_id)
    try:
        yield
    except Exception as error:
        if isinstance(error, ClaimLost | StoreError) and not isinstance(error, StoreRefused):
            raise
        # A RunEnd is how a stage says it; the error that made it say so stands behind it.
        cause, mode = (error.__context__, classify(error.rule)) if isinstance(error, RunEnd) else (error, None)
        _end(desk, step.model_copy(update={"failure_mode": str(mode or "")}), "failed", str(error), cause)
        raise
    finally:
        _stage.reset(token)
    _end(desk, step, "ok", "")


def retried(
    desk: Desk, what: str, attempt: int, outcome: RetryOutcome, error: BaseException | None, began: datetime
) -> None:
    """A try of something that is tried again when it fails. The same try after a restart is another Step."""
    run_id = desk.run.run_id
    parent = _stage.get() or root_step_id(run_id)
    number = steps.count(desk.context.telemetry, run_id, "retry_attempt", parent) + 1
    made = _attempt(run_id, parent, what, number, attempt, outcome, began)
    cause = type(error).__name__ if error is not None else ""
    _written(desk, made.model_copy(update={"exception_class": cause, "ended_at": desk.context.clock.now()}))


def _attempt(
    run_id: str, parent: str, what: str, number: int, attempt: int, outcome: RetryOutcome, began: datetime
) -> Step:
    return Step(
        step_id=step_id_of(run_id, parent, "retry_attempt", what, number),
        run_id=run_id,
        parent_id=parent,
        kind="retry_attempt",
        name=what,
        attempt=min(attempt, MOST_ATTEMPT),
        state="ok" if outcome == "success" else "failed",
        summary=outcome,
        started_at=began,
        ended_at=began,
    )


def begin_turn(desk: Desk, stage: str) -> Step:
    """The Step of an agent's process that is about to be started. After an interruption it is another one."""
    run_id, parent = desk.run.run_id, stage_step_id(desk.run.run_id, stage)
    number = steps.count(desk.context.telemetry, run_id, "agent_turn", parent) + 1
    return _written(desk, _turn(desk, parent, number))


def last_turn(desk: Desk, stage: str) -> Step:
    """The Step of the process that was started last: it has ended while nobody was there."""
    run_id, parent = desk.run.run_id, stage_step_id(desk.run.run_id, stage)
    return _turn(desk, parent, max(1, steps.count(desk.context.telemetry, run_id, "agent_turn", parent)))


def end_turn(desk: Desk, step: Step, outcome: Outcome) -> None:
    """The agent's process is over, with this outcome."""
    used = outcome.usage
    known = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "cost_usd": used.cost_usd}
    state: StepState = "ok" if outcome.kind in ("success", "no_change") else "failed"
    _end(desk, step.model_copy(update=known), state, outcome.message)


def keep(telemetry: Store, found: list[Step]) -> list[str]:
    """Write Steps; why some of them are not taken, which ends nothing. Raises StoreError for a store out of reach."""
    try:
        steps.record(telemetry, found)
    except StoreRefused as refused:
        if len(found) == 1:
            return [str(refused)]
        return [why for step in found for why in keep(telemetry, [step])]
    return []


def tell_dropped(desk: Desk, number: int, why: str) -> None:
    """Make an Event of Steps that could not be made or written."""
    told = {"kind": "steps", "number": number, "message": _bounded(desk, why)}
    desk.context.emit("record_dropped", desk.run, told, status="failed")


class ToolSteps:
    """Makes Steps of an agent's tool calls, from its events in their order."""

    def __init__(self, desk: Desk, turn: Step) -> None:
        self._desk = desk
        self._turn = turn
        self._open: dict[str, Step] = {}
        self._numbers: dict[str, int] = {}
        self._changed: dict[str, Step] = {}
        self._at = turn.started_at
        self._tries, self._tried = 0, 0

    def feed(self, event: AgentEvent) -> None:
        """Take one event. Calls of one batch are told apart by a microsecond each, so that their order stays."""
        self._at = max(self._desk.context.clock.now(), self._at + timedelta(microseconds=1))
        match event:
            case ToolCall():
                self._begin(event)
            case ToolResult(id=call, ok=ok, output=output):
                self._end(call, "ok" if ok else "failed", output)
            case Denied(id=call, reason=reason):
                self._end(call, "denied", reason)
            case Retry(attempt=attempt):
                self._try(attempt, "transient_failure")
            case Error() if self._tried:
                self._try(self._tried + 1, "exhausted")
            case Usage() | Final() if self._tried:
                self._try(self._tried + 1, "success")

    def take(self) -> list[Step]:
        """What has changed since the last time."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _try(self, attempt: int, outcome: RetryOutcome) -> None:
        """A try of a model call, of one that failed at first."""
        self._tries += 1
        self._tried = attempt if outcome == "transient_failure" else 0
        run_id, parent = self._turn.run_id, self._turn.step_id
        step = _attempt(run_id, parent, "model call", self._tries, attempt, outcome, self._at)
        self._changed[step.step_id] = step

    def _begin(self, call: ToolCall) -> None:
        name = call.name[:200]
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        parent, run_id = self._turn.step_id, self._turn.run_id
        step = Step(
            step_id=step_id_of(run_id, parent, "tool_call", name, number),
            run_id=run_id,
            parent_id=parent,
            kind="tool_call",
            name=name,
            attempt=number,
            action_fingerprint=fingerprint_of([name, dict(call.input)]),
            work_units=1,
            summary=_bounded(self._desk, _told(call)),
            started_at=self._at,
        )
        self._open[call.id] = self._changed[step.step_id] = step
        if len(self._open) > OPEN_CALLS:
            del self._open[next(iter(self._open))]

    def _end(self, call: str, state: StepState, output: str) -> None:
        step = self._open.get(call)
        if step is None or step.state == "denied":  # its result repeats the denial
            return
        known = {"state": state, "output_fingerprint": fingerprint_of(output), "ended_at": self._at}
        if state == "denied":
            known["summary"] = _bounded(self._desk, f"{step.summary}: {output}")
        self._open[call] = self._changed[step.step_id] = step.model_copy(update=known)


def _turn(desk: Desk, parent: str, number: int) -> Step:
    run_id, name = desk.run.run_id, desk.profile.name
    return Step(
        step_id=step_id_of(run_id, parent, "agent_turn", name, number),
        run_id=run_id,
        parent_id=parent,
        kind="agent_turn",
        name=name,
        attempt=number,
        started_at=desk.context.clock.now(),
    )


def _end(desk: Desk, step: Step, state: StepState, summary: str, error: BaseException | None = None) -> None:
    known = {
        "state": state,
        "summary": _bounded(desk, summary),
        "exception_class": type(error).__name__ if error is not None else "",
        "ended_at": desk.context.clock.now(),
    }
    _written(desk, step.model_copy(update=known))


def _written(desk: Desk, step: Step) -> Step:
    if why := keep(desk.context.telemetry, [step]):
        tell_dropped(desk, 1, why[0])
    return step


def _told(call: ToolCall) -> str:
    """What of a call a person wants to see first."""
    for key in ("command", "cmd", "file_path", "path", "url", "query", "pattern"):
        value: Any = call.input.get(key)
        if isinstance(value, str) and value:
            return value
    return canonical_json(dict(call.input))


def _bounded(desk: Desk, text: str) -> str:
    """One line without secrets and without what a terminal would act on."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * SUMMARY_CHARACTERS]).split())
    return redact(line, desk.secrets)[:SUMMARY_CHARACTERS]
