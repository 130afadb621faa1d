"""What agentd writes on GitHub: the sticky comment of an issue and the body of a pull request."""

from __future__ import annotations

from agentd.github.text import fence, neutralise_mentions, one_line
from agentd.run.desk import Desk
from agentd.sandbox.redact import redact
from agentd.states import RunState
from agentd.trace.span import trace_id_of

STICKY = "status"
"""Key of the one comment per issue that agentd keeps up to date."""
VERIFY_CHARACTERS = 8_000

HEADLINES: dict[RunState, str] = {
    RunState.running: "An agent works on this",
    RunState.in_review: "Ready for review",
    RunState.merged: "Merged",
    RunState.conflict_retry: "Conflict with the base, will be tried again",
    RunState.conflict_blocked: "Blocked: conflict with the base",
    RunState.failed_retry: "Did not work, will be tried again",
    RunState.failed: "Blocked: the run failed",
    RunState.verify_failed: "Blocked: the verify command does not pass",
    RunState.no_changes: "Blocked: the agent changed nothing",
    RunState.halted: "Blocked: a limit ended the run",
    RunState.cancelled: "Cancelled",
    RunState.closed_unmerged: "Blocked: the pull request was closed without merging",
    RunState.revoked: "Blocked: the run's rights were withdrawn",
}
REQUEUE = (
    "To try again: mend the cause, then replace the label `status:blocked` by `status:todo`. "
    "Earlier attempts no longer count after that."
)


def sticky_body(
    desk: Desk,
    state: RunState,
    *,
    reason: str = "",
    detail: str = "",
    saved: str = "",
    pull_url: str = "",
    told: str = "",
) -> str:
    """The sticky comment for a run in `state`; `told` says by which rule it ended."""
    run, lines = desk.run, [f"**{HEADLINES[state]}**", ""]
    if reason:
        lines += [neutralise_mentions(one_line(reason, 500)), ""]
    if pull_url:
        lines += [f"Pull request: {pull_url}", ""]
    if detail:
        lines += [neutralise_mentions(detail), ""]
    if saved:
        lines += [f"The work so far is kept on {saved} in agentd's mirror.", ""]
    if told:
        lines += [told, ""]
    if HEADLINES[state].startswith("Blocked"):
        lines += [REQUEUE, ""]
    what = f"run `{run.run_id}`, attempt {run.attempt}, profile `{run.profile}`, branch `{run.branch}`"
    lines += [what + _sandbox(desk)]
    return redact("\n".join(lines), desk.secrets)


def pull_body(desk: Desk, verify_output: str) -> str:
    """The pull request's body: what it closes, the goal, the proof, the way back."""
    task = desk.task
    goal = task.contract.goal if task.contract else task.goal
    source = f"tasks/{task.task_id}.json" if task.contract else f"issue #{task.issue_number}"
    body = "\n".join(
        [
            f"Closes #{task.issue_number}",
            "",
            "## Goal",
            "",
            neutralise_mentions(goal),
            "",
            "## Verify command",
            "",
            fence(task.verify_command),
            "",
            "## Verify output",
            "",
            fence(verify_output[-VERIFY_CHARACTERS:]),
            "",
            "## Rollback note",
            "",
            neutralise_mentions(task.rollback_note),
            "",
            f"Run `{desk.run.run_id}`, profile `{desk.run.profile}`, contract: {source}{_sandbox(desk)}",
            _trace(desk),
        ]
    )
    return redact(body, desk.secrets)


def _trace(desk: Desk) -> str:
    """The run's trace, known before it is written."""
    trace_id, link = trace_id_of(desk.run.run_id), desk.context.settings.tracing.link
    return f"Trace [{trace_id}]({link.replace('{trace_id}', trace_id)})" if link else f"Trace `{trace_id}`"


def _sandbox(desk: Desk) -> str:
    return "" if desk.is_sandboxed else ", **without a sandbox** (`sandbox = none`)"
