"""Publish: push, pull request, label, comment. Every write looks first, so that a repetition changes nothing."""

from __future__ import annotations

from typing import Any

from agentd.errors import ClaimLost, GitHubError, UndeclaredTransition
from agentd.git import mirror as git_mirror
from agentd.git.push import NameTaken, Outdated, push_branch
from agentd.github.comments import upsert_sticky
from agentd.github.labels import set_status
from agentd.github.pulls import Pull, ensure_pull, find_pulls
from agentd.policy.failures import TerminalReason, classify
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.report import STICKY, pull_body, sticky_body
from agentd.run.stages.finish import unwanted
from agentd.run.stages.start import bring, drop
from agentd.run.stages.sync import unpublished_ref
from agentd.states import RunState
from agentd.store import runs
from agentd.store.verdicts import run_record


async def push(desk: Desk, start: dict[str, Any], collected: dict[str, Any]) -> dict[str, Any]:
    """Push the verified commit, unless somebody has moved the branch since the last look at it. Raises RunEnd.

    The issue is looked at once more: a process that only finishes its runs makes no tick, and nobody else would.
    """
    context, commit, task_id = desk.context, collected["commit"], desk.task.task_id
    desk.require_wanted()
    desk.move(RunState.publishing, base_sha=start["base"], head_sha=commit)

    tries = 0

    def send() -> str:
        nonlocal tries
        tries += 1
        with context.github.writing():
            reason = unwanted(context.github, desk.task.issue_number)
        if reason:
            return reason
        if tries > 1:  # the push before this one may have arrived
            git_mirror.fetch(context.mirror, task_id)
        there = git_mirror.remote_branch(context.mirror, task_id)
        if there == commit:
            return ""
        if (there or "") != start["branch"]:
            raise Outdated(f"{desk.run.branch}: somebody pushed {there} while the run was under way")
        bring(desk, commit)
        desk.holding.check()
        push_branch(context.mirror, task_id, commit, there, desk.holding.name)
        return ""

    try:
        reason = await outside(desk, "push", send)
    except Outdated as error:
        context.mirror.git("update-ref", unpublished_ref(task_id), commit)
        raise RunEnd(RunState.conflict_retry, str(error), rule="branch_moved", cause="conflict") from None
    except NameTaken as error:
        context.mirror.git("update-ref", unpublished_ref(task_id), commit)
        raise RunEnd(RunState.failed, str(error), rule="branch_in_the_way") from None
    if reason:
        desk.note(cancel_reason=reason)
        context.cancels.setdefault(desk.run.run_id, reason)
        desk.require_wanted()
    context.mirror.git("update-ref", "-d", unpublished_ref(task_id))
    return {}


async def open_pull(desk: Desk, verified: dict[str, Any]) -> dict[str, Any]:
    """The pull request, made or brought up to date: {number, url}."""
    context, task = desk.context, desk.task
    title, body = f"[{task.task_id}] {task.title}", pull_body(desk, verified["output"])
    stored = runs.get_run(context.store, desk.run.run_id)
    tries = 0

    def make() -> Pull:
        nonlocal tries
        tries += 1
        if tries > 1 or desk.holding.claim.generation > 1:
            # The try before us, here or elsewhere, may have opened it, and a person may have merged it since.
            for pull in find_pulls(context.github, desk.run.branch, "closed"):
                if pull.merged and stored is not None and pull.head_sha == stored.head_sha:
                    return pull
        return ensure_pull(context.github, desk.run.branch, context.settings.base_branch, title, body)

    pull = await outside(desk, "pull request", make)
    context.emit("pr_opened", desk.run, {"pr_url": pull.url})
    return {"number": pull.number, "url": pull.url}


async def hand_over(desk: Desk, pull: dict[str, Any]) -> dict[str, Any]:
    """Label and comment for the reviewer; the run is in review."""
    context, number = desk.context, desk.task.issue_number
    body = sticky_body(desk, RunState.in_review, pull_url=pull["url"])
    # The state first: the reconciler drives labels to it, and must not take this label for a person's edit.
    try:
        mode = classify("", *run_record(context.store, desk.run.run_id)) or ""
        how = {"failure_mode": str(mode), "terminal_reason": str(TerminalReason.final_answer)}
        desk.move(RunState.in_review, pr_number=pull["number"], pr_url=pull["url"], **how)
    except UndeclaredTransition:
        # An incarnation before us came this far, and since then the pull request was merged or closed.
        await drop(desk)
        return {"state": RunState.in_review}

    def tell() -> None:
        set_status(context.github, number, "status:in-review")
        upsert_sticky(context.github, number, STICKY, body)

    try:
        await outside(desk, "label and comment for the review", tell)
    except (ClaimLost, GitHubError, RunEnd) as error:
        if isinstance(error, RunEnd) and error.state is RunState.cancelled:
            raise
        # The pull request is open, which cannot be undone by an end: the reconciler says so as soon as it may.
        context.emit("issue_labeled", desk.run, {"reason": str(error)}, status="skipped")
        await drop(desk)
        return {"state": RunState.in_review}
    labels = {"add_labels": ["status:in-review"], "remove_labels": ["status:in-progress", "status:blocked"]}
    context.emit("issue_labeled", desk.run, labels)
    desk.note(label="status:in-review")
    await drop(desk)
    context.emit("run_completed", desk.run, {"pr_url": pull["url"]})
    return {"state": RunState.in_review}
