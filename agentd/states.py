"""The one transition table of a Run. No other code changes a state; an undeclared change raises."""

from __future__ import annotations

from enum import StrEnum

from agentd.errors import UndeclaredTransition


class RunState(StrEnum):
    """Where a Run is. The ends stand last."""

    queued = "queued"
    """admitted, waiting for its executor"""
    preparing = "preparing"
    """claim held, workspace being made"""
    syncing = "syncing"
    """the task's branch is brought up to the base"""
    running = "running"
    """the agent works"""
    verifying = "verifying"
    """the verify command runs"""
    fixing = "fixing"
    """the agent works on what verify found"""
    publishing = "publishing"
    """push, pull request, labels, comment"""
    in_review = "in_review"
    """the pull request is open"""
    merged = "merged"
    conflict_retry = "conflict_retry"
    conflict_blocked = "conflict_blocked"
    failed_retry = "failed_retry"
    """failed for a cause that another attempt may mend"""
    failed = "failed"
    verify_failed = "verify_failed"
    no_changes = "no_changes"
    halted = "halted"
    """a limit or a run control ended it"""
    cancelled = "cancelled"
    """a person ended it (`agentd runs cancel`, issue closed, label removed), or it gave way to another holder"""
    closed_unmerged = "closed_unmerged"
    revoked = "revoked"


S = RunState

RETRY_ENDS = frozenset({S.conflict_retry, S.failed_retry})
BLOCKED_ENDS = frozenset(
    {S.conflict_blocked, S.failed, S.verify_failed, S.no_changes, S.halted, S.revoked, S.closed_unmerged}
)
ENDS = RETRY_ENDS | BLOCKED_ENDS | {S.merged, S.cancelled}
ACTIVE = frozenset({S.queued, S.preparing, S.syncing, S.running, S.verifying, S.fixing, S.publishing})

_ENDS_FROM_ACTIVE = frozenset({S.failed_retry, S.failed, S.halted, S.cancelled, S.revoked})

TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    S.queued: frozenset({S.preparing, S.syncing, S.verifying, S.publishing}) | _ENDS_FROM_ACTIVE,
    S.preparing: frozenset({S.preparing, S.syncing}) | _ENDS_FROM_ACTIVE,
    S.syncing: frozenset({S.preparing, S.running, S.verifying, S.publishing, S.conflict_retry, S.conflict_blocked})
    | _ENDS_FROM_ACTIVE,
    S.running: frozenset({S.preparing, S.verifying, S.fixing, S.no_changes, S.conflict_retry, S.conflict_blocked})
    | _ENDS_FROM_ACTIVE,
    S.verifying: frozenset({S.preparing, S.fixing, S.syncing, S.publishing, S.verify_failed, S.no_changes})
    | _ENDS_FROM_ACTIVE,
    S.fixing: frozenset({S.preparing, S.verifying, S.fixing, S.no_changes, S.conflict_retry, S.conflict_blocked})
    | _ENDS_FROM_ACTIVE,
    S.publishing: frozenset({S.preparing, S.in_review, S.conflict_retry, S.conflict_blocked}) | _ENDS_FROM_ACTIVE,
    S.in_review: frozenset({S.merged, S.closed_unmerged, S.cancelled}),
    S.closed_unmerged: frozenset({S.in_review, S.merged}),
    **{end: frozenset() for end in ENDS - {S.closed_unmerged}},
}
"""From each state, the states that may follow.

`preparing` is reachable from every stage: a restart begins there. From `queued` a run goes straight to `verifying`,
`syncing` or `publishing` when it takes over what an earlier one has done. From `verifying` it goes back to `syncing`
when the base has moved meanwhile, and what comes of that is verified again.
"""

STATUS_LABEL: dict[RunState, str | None] = {
    **dict.fromkeys(ACTIVE, "status:in-progress"),
    S.in_review: "status:in-review",
    **dict.fromkeys(RETRY_ENDS, "status:todo"),
    **dict.fromkeys(BLOCKED_ENDS, "status:blocked"),
    S.cancelled: None,
    S.merged: None,
}
"""The status label an open issue carries in each state; None leaves the labels as a person set them."""

RUNS_JSON_STATUS: dict[RunState, str] = {
    **dict.fromkeys(ACTIVE, "running"),
    **{state: str(state) for state in ENDS},
    S.in_review: "ready_for_review",
    S.failed_retry: "failed",
}
"""runs.json keeps the original's words (running, ready_for_review, ...)."""


def transition(current: RunState, new: RunState) -> RunState:
    """The new state, or `UndeclaredTransition` when the table does not have the change."""
    if new not in TRANSITIONS[current]:
        allowed = ", ".join(sorted(TRANSITIONS[current])) or "nothing: it is an end"
        raise UndeclaredTransition(f"a run cannot go from {current} to {new}; from {current} it may go to {allowed}")
    return new
