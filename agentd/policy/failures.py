"""The failure catalogue: what may go wrong with a run, by the rule that ended it. Pure.

docs/reference/failures.md is made from it, and nothing ends a run by a rule that is not in ENDINGS.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, NamedTuple

from agentd.states import RunState


class FailureMode(StrEnum):
    """What kind of failure it was; F1 to F10 in this order."""

    tool_call_failure = "tool_call_failure"
    """a call failed, was tried again, and then worked"""
    retry_exhaustion = "retry_exhaustion"
    """a call failed as often as it may be tried"""
    schema_mismatch = "schema_mismatch"
    """a tool was called with arguments that its schema does not allow"""
    cycle_detection = "cycle_detection"
    """the run did the same again and again"""
    catalogued_unhandled = "catalogued_unhandled"
    """anything else that went wrong; the exception's class is kept where there is one"""
    agent_stall = "agent_stall"
    """the agent gave no sign of life"""
    budget_exhausted = "budget_exhausted"
    """something that runs out ran out: money, tokens, calls, steps, minutes, memory"""
    lease_lost = "lease_lost"
    """the run's right to act, or the process that used it, was gone"""
    upstream_unavailable = "upstream_unavailable"
    """a model service, GitHub or a registry did not answer, or refused"""
    publish_conflict = "publish_conflict"
    """the work cannot be joined with what others have published"""


class TerminalReason(StrEnum):
    """Why a run ended, in few words."""

    final_answer = "final_answer"
    """the pull request is open"""
    loop_budget = "loop_budget"
    """a limit was reached"""
    policy_denial_terminal = "policy_denial_terminal"
    """a rule denied what the run cannot go on without"""
    failure_mode_terminal = "failure_mode_terminal"
    """a failure of the catalogue ended it"""
    retry_exhausted = "retry_exhausted"
    """the attempts that its cause may use up are used up"""
    not_accepted = "not_accepted"
    """the agent's work was judged and is not good enough"""
    cancelled = "cancelled"
    """a person ended it, or it gave way to another holder"""
    revoked = "revoked"
    """its rights were withdrawn"""


class Ending(NamedTuple):
    """What a rule that ends a run means."""

    mode: FailureMode | None
    reason: TerminalReason
    trigger: str
    do: str
    state: str = "failed"
    """where the run ends; a state that is tried again becomes `failed` or `conflict_blocked` when the attempts are
    used up"""


_MODE, _REASON = FailureMode, TerminalReason
_NOTHING = "Nothing: it is tried again, and blocked when the attempts are used up."
_RAISE = "Raise the limit that the comment names, or make the task smaller; then `status:todo`."
_LOOK = "Read the end of the output in the comment, mend the cause; then `status:todo`."


def _failed(mode: FailureMode, trigger: str, do: str) -> Ending:
    return Ending(mode, _REASON.failure_mode_terminal, trigger, do)


def _limit(trigger: str, do: str = _RAISE) -> Ending:
    return Ending(_MODE.budget_exhausted, _REASON.loop_budget, trigger, do)


def _cycle(trigger: str) -> Ending:
    do = "Look at what the agent repeats. A clearer task, a better verify command or another profile may help."
    return Ending(_MODE.cycle_detection, _REASON.policy_denial_terminal, trigger, do)


def _rejected(trigger: str, do: str) -> Ending:
    return Ending(None, _REASON.not_accepted, trigger, do)


ENDINGS: dict[str, Ending] = {
    # The agent
    "agent_unusable": _failed(_MODE.catalogued_unhandled, "the profile's agent cannot be set up", _LOOK),
    "agent_not_started": _failed(_MODE.catalogued_unhandled, "the agent's program cannot be started", _LOOK),
    "agent_failed": _failed(
        _MODE.catalogued_unhandled, "the agent said that it failed, or ended without a word", _LOOK
    ),
    "agent_lifeless": _failed(
        _MODE.agent_stall, "no sign of life for `agent_startup_minutes` after the start", _NOTHING
    ),
    "agent_silent": _failed(_MODE.agent_stall, "no further sign of life for `agent_silence_minutes`", _NOTHING),
    "agent_timeout": _limit("the agent's process took longer than `max_agent_runtime_minutes`"),
    "agent_limit": _limit("the agent used more memory, disk, CPU time or output than it may"),
    "agent_own_limit": _limit("the agent stopped at a limit of its own, such as `max_steps` of the profile"),
    "agent_interrupted": _failed(
        _MODE.lease_lost,
        "the agent was interrupted more often than `retries.infrastructure` allows",
        "See why agentd or its host restarts; then `status:todo`.",
    ),
    "run_overdue": _limit("the run took longer than `max_run_minutes`"),
    # Its model
    "model_credential": _failed(
        _MODE.upstream_unavailable, "the model's service refused the credential", "Set a good key; then `status:todo`."
    ),
    "model_failed": _failed(_MODE.upstream_unavailable, "the model's service failed", _NOTHING),
    "model_quota": _failed(
        _MODE.upstream_unavailable,
        "the quota of the model's credential is used up",
        "Nothing: all tasks that use the credential wait for the reset, and no attempt is charged.",
    ),
    "budget": _limit("a budget of `[budgets]` is used up (rules `budget_<scope>_<unit>`)"),
    # Policy and run controls
    "loop_budget": _limit(
        "a limit of the policy's `loop_budget`: iterations, tokens, cost or wall",
        "Raise the limit in the policy document, or make the task smaller; then `status:todo`.",
    ),
    "cycle_detection": _cycle("the same tool was called with the same arguments more often than the policy allows"),
    "run-budget-exceeded": _limit("the run did more steps than `run_controls.max_work_units`"),
    "step-cap-exceeded": _limit("a step was done more often than its cap in `[run_controls]`"),
    "repeated-identical-action": _cycle("the same work had the same outcome several times in a row"),
    "alternating-diff-fingerprint": _cycle("the work went back and forth between the same states"),
    "diff_refused": Ending(
        None,
        _REASON.policy_denial_terminal,
        "the last round left what `[diff]` does not let be published",
        "Read which rule it was in the comment; allow it in `[diff]`, or say in the issue what to leave alone.",
    ),
    # The work
    "no_changes": _rejected("the agent ended without changing anything", "Say more clearly in the issue what to do."),
    "nested_repository": _rejected("the agent left a git repository inside the tree", "Say so in the issue."),
    "work_unreadable": _failed(_MODE.catalogued_unhandled, "git cannot read what the agent left", _LOOK),
    "verify_failed": _rejected("the verify command did not pass in any round", _LOOK),
    "verify_timeout": _rejected("the verify command took longer than `verify_timeout_minutes`", _RAISE),
    "verify_limit": _rejected("the verify command used more memory, disk or CPU time than it may", _RAISE),
    "verify_unusable": _failed(_MODE.catalogued_unhandled, "the verify command cannot be started", _LOOK),
    "verify_changed_files": _rejected(
        "the verify command passed, but changed files that belong to the commit",
        "Make the verify command leave tracked files alone.",
    ),
    # Joining and publishing
    "conflict": _failed(
        _MODE.publish_conflict,
        "branch and base change the same lines",
        "At first nothing: it is tried again. When it is blocked, the comment says how to resolve it by hand.",
    ),
    "conflict_unresolved": _failed(_MODE.publish_conflict, "the agent left marks of the conflict in files", _NOTHING),
    "base_moving": _failed(_MODE.publish_conflict, "base or branch moved each time that work was verified", _NOTHING),
    "branch_moved": _failed(_MODE.publish_conflict, "somebody pushed to the task's branch meanwhile", _NOTHING),
    "branch_in_the_way": _failed(
        _MODE.publish_conflict,
        "a branch on the remote, as `agent` or `agent/issue-1/x`, leaves no place for the task's",
        "Rename or delete the branch that the comment names; then `status:todo`.",
    ),
    "lockfile_unusable": _failed(
        _MODE.catalogued_unhandled, "a package manager that a lockfile needs cannot be used", _LOOK
    ),
    "registry_unavailable": _failed(_MODE.upstream_unavailable, "a package registry did not answer", _NOTHING),
    # Around it
    "retry_exhausted": Ending(
        _MODE.retry_exhaustion,
        _REASON.retry_exhausted,
        "GitHub or the network stayed ill, however often it was tried",
        _NOTHING,
    ),
    "github_refused": _failed(_MODE.upstream_unavailable, "GitHub refused a request", "Read what it said; see rights."),
    "git_unavailable": _failed(_MODE.upstream_unavailable, "git could not reach the remote", _NOTHING),
    "git_failed": _failed(_MODE.catalogued_unhandled, "a git command failed", _LOOK),
    "host_trouble": _failed(_MODE.catalogued_unhandled, "the host is in trouble: disk, memory, files", _NOTHING),
    "sandbox_missing": _failed(
        _MODE.catalogued_unhandled, "the sandbox does not hold on this host", "`agentd doctor` says what is missing."
    ),
    "guardian_died": _failed(_MODE.lease_lost, "the process that guards the run's programs died", _NOTHING),
    "contract_changed": _failed(_MODE.lease_lost, "agentd was changed under the run", _NOTHING),
    "inner_error": _failed(_MODE.catalogued_unhandled, "an error inside agentd", "Report it with the run's log."),
    "claim_elsewhere": Ending(
        _MODE.lease_lost, _REASON.cancelled, "another installation works on the task", "Nothing: it finishes there."
    ),
    "claim_ref_refused": _failed(
        _MODE.upstream_unavailable,
        "the remote takes no claims",
        "Let agentd write `refs/agentd/*`, or set `remote = false` under `[claim]`.",
    ),
    "base_branch_missing": _failed(
        _MODE.upstream_unavailable,
        "the base branch is not on the remote",
        "Push it, or set `BASE_BRANCH` and restart.",
    ),
    "cancelled": Ending(None, _REASON.cancelled, "a person ended it", "Nothing."),
    "pull_closed": _rejected("its pull request was closed without merging", "Nothing, or `status:todo` to try again."),
    "revoked": Ending(None, _REASON.revoked, "its rights were withdrawn", "Look at why; then `status:todo`."),
}
"""By the rule that ended the run."""
_STATES: dict[str, tuple[str, ...]] = {
    "failed_retry": (
        *("agent_failed", "agent_lifeless", "agent_silent", "model_failed"),
        *("model_quota", "retry_exhausted", "git_unavailable", "host_trouble"),
        *("sandbox_missing", "guardian_died", "contract_changed", "inner_error"),
    ),
    "halted": (
        *("agent_timeout", "agent_limit", "agent_own_limit", "run_overdue"),
        *("budget", "loop_budget", "cycle_detection", "run-budget-exceeded"),
        *("step-cap-exceeded", "repeated-identical-action", "alternating-diff-fingerprint", "diff_refused"),
    ),
    "no_changes": ("no_changes",),
    "verify_failed": (*("verify_failed", "verify_timeout", "verify_limit", "verify_changed_files"),),
    "conflict_retry": (
        *("conflict", "conflict_unresolved", "base_moving", "branch_moved"),
        *("registry_unavailable",),
    ),
    "cancelled": (
        "claim_elsewhere",
        "claim_ref_refused",
        "base_branch_missing",
        "cancelled",
    ),
    "closed_unmerged": ("pull_closed",),
    "revoked": ("revoked",),
}
"""Where runs end by these rules; by every other one `failed`."""
ENDINGS |= {rule: ENDINGS[rule]._replace(state=state) for state, rules in _STATES.items() for rule in rules}

REVIEWED: dict[RunState, str] = {
    RunState.in_review: "",
    RunState.merged: "",
    RunState.closed_unmerged: "pull_closed",
    RunState.cancelled: "cancelled",
}
"""Where people bring a run whose pull request is open, each with the rule that stands behind it."""

TRANSIENT, EXHAUSTED = "transient_failure", "exhausted"


def ending_of(rule_id: str) -> Ending:
    """The entry of a rule; `budget_day_usd` and the like are `budget`, and an unknown rule is an inner error."""
    if rule_id.startswith("budget_"):
        rule_id = "budget"
    return ENDINGS.get(rule_id, ENDINGS["inner_error"])


def classify(rule_id: str, denied: Collection[str] = (), retries: Collection[str] = ()) -> FailureMode | None:
    """The failure mode of a run that `rule_id` ended, empty for one that reached its pull request.

    `denied` are the rules that denied something on the way, `retries` the outcomes of tries. What ended the run says
    it; where that is only `catalogued_unhandled`, what went before may know better. Order as in the original. A model
    that failed in every try is `retry_exhaustion`; where the agent did not tell of its tries, `upstream_unavailable`.
    """
    found = ending_of(rule_id).mode if rule_id else None
    if rule_id == "model_failed" and EXHAUSTED in retries:
        return FailureMode.retry_exhaustion
    if rule_id and found is not FailureMode.catalogued_unhandled:
        return found
    if "arg_schema" in denied:
        return FailureMode.schema_mismatch
    if "cycle_detection" in denied:
        return FailureMode.cycle_detection
    if EXHAUSTED in retries:
        return FailureMode.retry_exhaustion
    if found is None and TRANSIENT in retries:
        return FailureMode.tool_call_failure
    return found


def terminal_reason(rule_id: str, mode: FailureMode | None = None, *, used_up: bool = False) -> TerminalReason:
    """Why the run ended; `used_up` when it was the last attempt that its cause may have."""
    if not rule_id:
        return TerminalReason.final_answer
    if used_up or mode is FailureMode.retry_exhaustion:
        return TerminalReason.retry_exhausted
    return ending_of(rule_id).reason


def end_fields(rule_id: str, *, used_up: bool = False) -> dict[str, Any]:
    """The fields of a run that say how it ended, for one that nothing but the rule is known of."""
    reason = terminal_reason(rule_id, used_up=used_up)
    return {"failure_mode": str(classify(rule_id) or ""), "terminal_reason": str(reason)}


def review_fields(state: RunState) -> dict[str, Any]:
    """The fields of a run that say what people did with its pull request; for a state of REVIEWED.

    Its failure mode is no such field: that is of what the run itself did, and stays.
    """
    return {"terminal_reason": str(terminal_reason(REVIEWED[state]))}
