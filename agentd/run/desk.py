"""The desk of one run: what a stage works with, and how a stage ends a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection

from agentd.agents.environment import secret_values
from agentd.errors import ClaimLost, GitError, RateLimited, StoreError, Unavailable
from agentd.model import Decision, Profile, Run, Task, Verdict
from agentd.plain import storable
from agentd.policy.retry import RetryRules, outcome_of, wait_seconds
from agentd.run.claim import Holding
from agentd.run.context import Context, Order
from agentd.run.process import Ended, Program, guard, result_of
from agentd.sandbox.redact import redact
from agentd.states import RunState
from agentd.store import attempts, claims, holds, runs, verdicts
from agentd.store.verdicts import About

T = TypeVar("T")
Cause = Literal["conflict", "infrastructure", "agent"]
OUTSIDE = RetryRules(max_retries=29, backoff_base_ms=10_000, backoff_cap_ms=300_000)
"""For what is done on GitHub and on the remote: patient, since all work is done by then."""
MOST_TRIES = OUTSIDE.attempts
OVERDUE = "the run takes too long"
"""Why a run is to end whose own deadline is over."""


class RunEnd(Exception):
    """Ends a run from within a stage.

    `rule` is an entry of the failure catalogue (agentd.policy.failures). `cause` names what an attempt is charged to
    when another one may follow; without a cause the end is final. `verdict` is what decided it, where that was one.
    """

    def __init__(
        self,
        state: RunState,
        reason: str,
        *,
        rule: str,
        cause: Cause | None = None,
        detail: str = "",
        retry_at: datetime | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        reason = storable(reason)
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.rule = rule
        self.verdict = verdict
        self.cause = cause
        self.detail = storable(detail)
        self.retry_at = retry_at

    def to_json(self) -> dict[str, Any]:
        """For a durable step's result."""
        return {
            "state": self.state,
            "reason": self.reason,
            "rule": self.rule,
            "cause": self.cause,
            "detail": self.detail,
            "retry_at": self.retry_at.isoformat() if self.retry_at else None,
            "verdict": storable(self.verdict.model_dump(mode="json")) if self.verdict else None,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> RunEnd:
        at = datetime.fromisoformat(value["retry_at"]) if value["retry_at"] else None
        return RunEnd(
            RunState(value["state"]),
            value["reason"],
            rule=value["rule"],
            cause=value["cause"],
            detail=value["detail"],
            retry_at=at,
            verdict=Verdict.model_validate(value["verdict"]) if value["verdict"] else None,
        )


@dataclass(frozen=True)
class Desk:
    """One run in one process."""

    context: Context
    run: Run
    order: Order
    claim: Holding | None = None
    at_hand: set[str] = field(default_factory=set, compare=False)
    """commits that were found whole in this host's mirror; nothing of a run is removed while it lives"""

    @property
    def task(self) -> Task:
        return self.order.task

    @property
    def profile(self) -> Profile:
        return self.order.profile

    @property
    def run_dir(self) -> Path:
        return self.context.run_dir(self.run.run_id)

    @property
    def is_sandboxed(self) -> bool:
        """Whether its programs run in a sandbox: when it was dispatched so, and wherever this host asks for it."""
        return "required" in (self.order.sandbox, self.context.settings.sandbox)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that nothing kept or posted of this run may hold."""
        return (*self.context.secrets, *secret_values(self.profile.env))

    @property
    def log_path(self) -> Path:
        return self.context.log_path(self.run.run_id)

    @property
    def holding(self) -> Holding:
        assert self.claim is not None, "this stage needs the claim"
        return self.claim

    def with_claim(self, claim: Holding) -> Desk:
        return replace(self, claim=claim)

    def move(self, state: RunState, reason: str = "", **fields: Any) -> None:
        """Change the run's state in the store; see agentd.states. Raises ClaimLost, as every write of a run."""
        with self.telling(f"state {state}"):
            runs.change_state(self.context.store, self.run.run_id, state, reason=reason, fence=self._fence, **fields)

    def note(self, **fields: Any) -> None:
        """Set fields of the run other than its state. Raises ClaimLost."""
        with self.telling(", ".join(fields)):
            runs.update_run(self.context.store, self.run.run_id, fence=self._fence, **fields)

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """A write that is refused because the claim is lost becomes an Event.

        Who slept in a transaction finds the connection to the database gone, and knows only by the clock.
        """
        try:
            try:
                yield
            except StoreError:
                if self.claim is not None and not self.context.store.is_sqlite:
                    self.claim.check_clock()
                raise
        except ClaimLost as lost:
            data = {"reason": "claim_lost", "refused": what, "message": str(lost)}
            self.context.emit("run_failed", self.run, data, status="skipped")
            raise

    def decided(self, verdict: Verdict, *, once: bool = False) -> None:
        """Write a verdict about this run to the ledger; `once`: unless its Events have it."""
        verdicts.record(self.context.store, verdict, self._about, once=once)

    def hold(self, verdict: Verdict) -> bool:
        """Set a hold; True when it is new or says something new, which is an Event then."""
        return verdicts.hold(self.context.store, verdict, self._about)

    @property
    def _about(self) -> About:
        about = self.context.about(self.run, "worker")
        return replace(about, clean=lambda text: redact(text, self.secrets))

    def _fence(self, connection: Connection) -> None:
        if self.claim is not None:
            claims.require(self.context.store, connection, self.claim.claim)
        else:
            runs.require_executor(connection, self.run.run_id, self.context.executor)

    def require_wanted(self) -> None:
        """Raises RunEnd when somebody has asked for the run to end."""
        stored = runs.get_run(self.context.store, self.run.run_id)
        reason = self.context.cancels.get(self.run.run_id) or (stored.cancel_reason if stored else "")
        if reason == OVERDUE:
            limit = f"{self.context.settings.max_run_minutes:g} minutes"
            reason = f"the run did not end within {limit} (max_run_minutes)"
            raise RunEnd(RunState.halted, reason, rule="run_overdue")
        if reason:
            raise RunEnd(RunState.cancelled, reason, rule="cancelled")

    def charge_restart(self) -> None:
        """Charge the attempt Meter for starting the agent again. Raises RunEnd when the cause is used up."""
        store, task_id = self.context.store, self.task.task_id
        key = f"{self.run.run_id}/generation-{self.holding.claim.generation}"
        with store.write() as connection:
            self._fence(connection)
            attempts.charge(store, connection, task_id, key)
        attempts.settle(store, key, "infrastructure")
        if attempts.counts(store, task_id).get("infrastructure", 0) > self.context.settings.retries.infrastructure:
            reason = "the agent was interrupted more often than retries.infrastructure allows"
            raise RunEnd(RunState.failed, reason, rule="agent_interrupted")


def open_desk(context: Context, run_id: str) -> Desk:
    """The desk of a stored run. LookupError when the store does not have it."""
    run = runs.get_run(context.store, run_id)
    if run is None:
        raise LookupError(run_id)
    return Desk(context, run, Order.model_validate(runs.order_of(context.store, run_id)))


def hold_scope(run_id: str) -> str:
    """Scope of the hold of a run that waits for GitHub or the network."""
    return f"run:{run_id}"


def conclusive(desk: Desk, name: str) -> Ended | None:
    """The result that a program of this run left, if it came to its own end: then it is not run again."""
    ended = result_of(desk.run_dir, name)
    return None if ended is None or ended.ended in {"orphaned", "lease_lost", "stopped"} else ended


async def supervise(desk: Desk, program: Program, log_path: Path, is_over: Callable[[], bool] = lambda: False) -> Ended:
    """Run a program of this run to its end under the guardian. Raises RunEnd when somebody ended the run meanwhile.

    It is stopped as well when `is_over`, which is asked every second.
    """
    context, run_id = desk.context, desk.run.run_id

    def stop_requested() -> float | None:
        if context.stopping.is_set():
            return 0.0
        return program.grace_seconds if run_id in context.cancels or is_over() else None

    ended = await guard(program, desk.run_dir, log_path, desk.holding.deadline, stop_requested, context.stopping)
    if ended.ended == "stopped":
        if context.stopping.is_set():
            # This process ends in a moment and the run goes on in its next incarnation: nothing may be recorded.
            await asyncio.Event().wait()
        desk.require_wanted()
    return ended


async def outside(desk: Desk, what: str, act: Callable[[], T]) -> T:
    """Do something outside, in a thread, under the claim; wait and try again while GitHub or the network is ill.

    `act` must be safe to repeat. The claim is checked before every try and before every request that writes. A wait
    is a hold that everybody can see; it charges no attempt. Raises ClaimLost, RunEnd and what a retry cannot mend.
    """
    from agentd.run import recording  # which needs this module itself

    context = desk.context

    def guarded() -> T:
        with desk.telling(what), context.github.guarding(desk.holding):
            desk.holding.check()
            done = act()
            desk.holding.check()  # what took longer than the lease counts for nothing: somebody else is at it
            return done

    for attempt in range(1, OUTSIDE.attempts + 1):
        began, asked = context.clock.now(), None
        failure: Exception | None = None
        try:
            done = await asyncio.to_thread(guarded)
        except RateLimited as limited:
            failure, rule = limited, f"rate_limit_{limited.kind}"
            asked = max(1.0, (limited.retry_at - context.clock.now()).total_seconds())
        except Unavailable as error:
            failure, rule = error, "github_unavailable"
        except GitError as error:
            if not error.is_passing:
                raise
            failure, rule = error, "remote_unavailable"
        if failure is not None or attempt > 1:
            outcome = outcome_of(OUTSIDE, attempt, failed=failure is not None)
            recording.retried(desk, what, attempt, outcome, failure, began)
        if failure is None:
            if attempt > 1:
                holds.lift(context.store, hold_scope(desk.run.run_id))
            return done
        wait = wait_seconds(OUTSIDE, attempt, f"{desk.run.run_id}/{what}", asked)
        if wait is None:
            break
        desk.hold(
            Verdict(
                control="outside",
                rule_id=rule,
                decision=Decision.hold,
                scope=hold_scope(desk.run.run_id),
                observed=f"{what}: {failure}",
                retry_at=context.clock.now() + timedelta(seconds=wait),
            )
        )
        await context.sleep(wait)
        desk.require_wanted()
    reason = f"{what}: GitHub or the network stayed ill: {failure}"
    raise RunEnd(RunState.failed_retry, reason, rule="retry_exhausted", cause="infrastructure")
