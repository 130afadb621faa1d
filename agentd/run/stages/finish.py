"""Finish: a run that did not reach its pull request. Work is saved first, then the end is recorded and told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from agentd.errors import ClaimLost, ConfigurationError, GitError, GitHubError, NotFound
from agentd.git.collect import save
from agentd.git.mirror import NoBase
from agentd.git.push import RefusedRef
from agentd.git.workspace import Workspace
from agentd.github.client import GitHub
from agentd.github.comments import upsert_sticky
from agentd.github.issues import get_issue
from agentd.github.labels import READY, set_status
from agentd.model import Decision, Verdict
from agentd.policy.failures import classify, end_fields, ending_of, terminal_reason
from agentd.run.desk import Cause, Desk, RunEnd, outside
from agentd.run.enclosure import reading
from agentd.run.report import STICKY, sticky_body
from agentd.run.stages.start import drop
from agentd.states import RETRY_ENDS, STATUS_LABEL, RunState
from agentd.store import attempts, holds
from agentd.store.verdicts import run_record

ISSUE_CLOSED = "the issue was closed"
NOT_READY = "the label agent-ready was removed"
REFUSED = "claim_ref_refused"
NO_BASE = "base_branch_missing"
"""Rules of the holds of everything: while the remote takes no claims, and while it has no base branch."""
TRY_AGAIN = timedelta(minutes=10)
QUIET = frozenset({ISSUE_CLOSED, NOT_READY})
"""Reasons of a cancelled run after which the issue needs no status label: a person has spoken already."""
USED_UP: dict[Cause, RunState] = {
    "conflict": RunState.conflict_blocked,
    "infrastructure": RunState.failed,
    "agent": RunState.failed,
}
"""Where a retryable end goes when its cause has used up its attempts."""

Find = Callable[[], Awaitable[Workspace | None]]


def unwanted(github: GitHub, number: int) -> str:
    """Why a run of the issue is to end, by what people did with it; empty when it is wanted. Raises GitHubError."""
    try:
        issue = get_issue(github, number)
    except NotFound:
        return ISSUE_CLOSED
    if issue.state == "closed":
        return ISSUE_CLOSED
    return "" if READY in issue.labels else NOT_READY


async def finish(desk: Desk, find: Find, end: RunEnd) -> dict[str, Any]:
    """Save the work that `find` finds, charge the cause, record the end, tell people: {state}."""
    context, task_id = desk.context, desk.task.task_id
    saved, safe = await _save(desk, find, end.reason)
    with desk.telling("end of the run"):
        desk.holding.check()
    state = _settle(desk, end)
    told = _record(desk, state, end)
    if state in RETRY_ENDS:
        _delay(desk, end)
    else:
        holds.lift(context.store, task_id)
    body = sticky_body(desk, state, reason=end.reason, detail=end.detail, saved=saved, told=told)
    label = STATUS_LABEL[state] or (None if desk.context.cancels.get(desk.run.run_id) in QUIET else "status:blocked")

    def tell() -> None:
        set_status(context.github, desk.task.issue_number, label)
        upsert_sticky(context.github, desk.task.issue_number, STICKY, body)

    try:
        await outside(desk, "label and comment at the end", tell)
        desk.note(label=label or "")
        if label is not None:
            change = {"add_labels": [label], "remove_labels": ["status:in-progress"], "reason": state.value}
            context.emit("issue_labeled", desk.run, change)
    except (ClaimLost, GitHubError, RunEnd) as error:
        # The reconciler drives labels to the recorded state as soon as it may.
        context.emit("issue_labeled", desk.run, {"reason": str(error)}, status="skipped")
    if safe:
        await drop(desk)
    return {"state": state}


async def _save(desk: Desk, find: Find, why: str) -> tuple[str, bool]:
    """(salvage ref of the workspace's content, empty when there was none; whether nothing is left to be saved).

    Never raises: an end must be recorded.
    """
    place = None
    try:
        place = await find()
        saved = await asyncio.to_thread(save_work, desk, place, why) if place is not None else ""
    except (GitError, ConfigurationError) as error:
        desk.context.emit("run_failed", desk.run, {"reason": f"salvage failed: {error}"}, status="failed")
        return (f"the workspace itself, {place.path}, because saving it failed: {error}" if place else ""), False
    return (f"`{saved}`" if saved else ""), True


def save_work(desk: Desk, place: Workspace, why: str) -> str:
    """Keep the workspace's content on a salvage ref, which is returned; empty when there is none to keep.

    Raises GitError, ConfigurationError.
    """
    task_id, run_id = desk.task.task_id, desk.run.run_id
    if not place.path.is_dir():
        return ""
    with reading(desk, place) as reader:
        return save(desk.context.mirror, place, task_id, run_id, why, reader) or ""


def _settle(desk: Desk, end: RunEnd) -> RunState:
    """Charge the end's cause to the attempt Meter, and block when that was the last attempt."""
    store = desk.context.store
    if end.cause is None:
        if end.state in RETRY_ENDS:
            attempts.refund(store, desk.run.run_id)
        return end.state
    attempts.settle(store, desk.run.run_id, end.cause)
    used = attempts.counts(store, desk.task.task_id).get(end.cause, 0)
    return USED_UP[end.cause] if used >= desk.context.settings.retries.limit(end.cause) else end.state


def _record(desk: Desk, state: RunState, end: RunEnd) -> str:
    """Record the end with its verdict and its place in the failure catalogue; for people: rule, mode and reason."""
    context, run = desk.context, desk.run
    desk.decided(end.verdict or _verdict(desk, state, end), once=True)
    mode = classify(end.rule, *run_record(context.store, run.run_id))
    reason = terminal_reason(end.rule, mode, used_up=state is not end.state)
    desk.move(state, reason=end.reason, failure_mode=str(mode or ""), terminal_reason=str(reason))
    data = {"reason": state.value, "message": end.reason, "rule_id": end.rule, "terminal_reason": str(reason)}
    context.emit("run_failed", run, data | ({"failure_mode": str(mode)} if mode else {}), status="failed")
    return f"Ended by the rule `{end.rule}`: {f'`{mode}`, ' if mode else ''}`{reason}`."


def _verdict(desk: Desk, state: RunState, end: RunEnd) -> Verdict:
    ended = Decision.halt if state is RunState.halted else Decision.block
    decision = Decision.hold if state in RETRY_ENDS else ended
    return Verdict(
        control="run",
        rule_id=end.rule,
        decision=decision,
        scope=f"run:{desk.run.run_id}",
        observed=end.reason,
        action=ending_of(end.rule).do,
        retry_at=end.retry_at,
    )


def _delay(desk: Desk, end: RunEnd) -> None:
    context = desk.context
    failures = sum(attempts.counts(context.store, desk.task.task_id).values())
    later = context.clock.now() + timedelta(seconds=attempts.backoff_seconds(failures))
    desk.hold(
        Verdict(
            control="attempts",
            rule_id="backoff",
            decision=Decision.hold,
            scope=desk.task.task_id,
            observed=f"waits after: {end.reason}",
            retry_at=end.retry_at or later,
        )
    )


async def unclaimed(desk: Desk, end: RunEnd) -> dict[str, Any]:
    """The end of a run that never had the claim: recorded here, and told by the reconciler when it may."""
    state = _settle(desk, end)
    _record(desk, state, end)
    if state in RETRY_ENDS:
        _delay(desk, end)
    return {"state": state}


async def hold_back(desk: Desk, refused: RefusedRef) -> dict[str, Any]:
    """The remote takes no claim refs: hold everything with the reason, charge nothing."""
    verdict = Verdict(
        control="claim",
        rule_id=REFUSED,
        decision=Decision.hold,
        scope="*",
        observed=str(refused),
        retry_at=desk.context.clock.now() + TRY_AGAIN,
        action="let agentd write refs/agentd/*, or set `remote = false` under [claim] and run one installation",
    )
    return _hold_all(desk, verdict, "claim_refused")


async def without_base(desk: Desk, error: NoBase) -> dict[str, Any]:
    """The remote has no base branch, which no task can do without: hold everything as well."""
    verdict = Verdict(
        control="github",
        rule_id=NO_BASE,
        decision=Decision.hold,
        scope="*",
        observed=str(error),
        retry_at=desk.context.clock.now() + TRY_AGAIN,
        action="push that branch, or set BASE_BRANCH to the one that it is now and restart agentd",
    )
    return _hold_all(desk, verdict, NO_BASE)


def _hold_all(desk: Desk, verdict: Verdict, reason: str) -> dict[str, Any]:
    context = desk.context
    attempts.refund(context.store, desk.run.run_id)
    desk.move(RunState.cancelled, reason=verdict.observed, **end_fields(verdict.rule_id))
    context.emit("run_failed", desk.run, {"reason": reason, "message": verdict.observed}, status="skipped")
    desk.hold(verdict)
    return {"state": RunState.cancelled}


async def give_way(desk: Desk, holder: str, seconds: float) -> dict[str, Any]:
    """Somebody else works on the task: end without a trace outside and without charging an attempt."""
    context = desk.context
    attempts.refund(context.store, desk.run.run_id)
    desk.move(RunState.cancelled, reason=f"given way: {holder}", **end_fields("claim_elsewhere"))
    context.emit("run_failed", desk.run, {"reason": "claim_elsewhere", "message": holder}, status="skipped")
    desk.hold(
        Verdict(
            control="claim",
            rule_id="claim_elsewhere",
            decision=Decision.hold,
            scope=desk.task.task_id,
            observed=holder,
            action="nothing to do: whoever holds it finishes, or its lease runs out",
            retry_at=context.clock.now() + timedelta(seconds=seconds),
        )
    )
    return {"state": RunState.cancelled}
