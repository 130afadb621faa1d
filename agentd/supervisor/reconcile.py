"""Reconcile: drive GitHub and the engine towards the store, and obey what people did meanwhile.

Each part looks at the world as it is now, so a missed tick, a crash or an edit by hand is made good by the next one.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from agentd.errors import ConfigurationError, Forbidden, GitError, NotFound, Rejected
from agentd.git.collect import snapshot
from agentd.git.mirror import fetch_claims, seen_claim, tree_of
from agentd.git.workspace import discard, find
from agentd.github.comments import upsert_sticky
from agentd.github.conditional import PER_PAGE
from agentd.github.issues import close_issue, get_issue
from agentd.github.labels import set_status
from agentd.github.pulls import Pull, delete_branch, pull_state, recently_changed_pulls
from agentd.model import Decision, Issue, Run, Verdict
from agentd.policy.failures import end_fields, review_fields
from agentd.run import engine
from agentd.run.claim import is_over
from agentd.run.context import Context
from agentd.run.desk import hold_scope, open_desk
from agentd.run.enclosure import reading
from agentd.run.executor import place_of
from agentd.run.report import STICKY, sticky_body
from agentd.run.stages.finish import unwanted
from agentd.run.workflow import CONTRACT_VERSION
from agentd.states import ACTIVE, STATUS_LABEL, RunState
from agentd.store import attempts, claims, executors, holds, looks, runs
from agentd.supervisor.tasks import status_label, task_id_of
from agentd.supervisor.world import World

LOOKS_PER_TICK = 10
"""Pull requests older than the newest hundred that are asked for one by one, each tick."""


async def release_dead(context: Context, since: float) -> list[str]:
    """Runs of executors elsewhere that are dead become nobody's, so that any host may take them; their ids.

    Dead is who has not sent a heartbeat for two leases, and whose claim is over: then the guardian has ended the
    agent. A living executor of the same place takes its runs up itself, with the work that is on its disk. After
    `since`, the boot time when this one began to lead or had the database back, everybody gets as long to report.
    """
    lease = context.settings.claim.lease_seconds
    if context.clock.boottime() - since < 2 * lease:
        return []
    alive = {found.place for found in executors.all_executors(context.store) if found.seconds_left > 0}
    released = []
    for run in runs.unfinished_runs(context.store, await engine.active()):
        if not run.executor or place_of(run.executor) in alive or place_of(run.executor) == context.place:
            continue
        if not executors.overdue(context.store, run.executor, lease):
            continue
        if claims.run_of(context.store, run.task_id)[0] == run.run_id:
            continue
        if runs.reassign(context.store, run.run_id, run.executor, ""):
            data = {"reason": "executor_dead", "message": f"{run.executor} sends no heartbeat any more"}
            context.emit("run_failed", run, data, status="skipped", source="reconciler")
            released.append(run.run_id)
    return released


async def end_foreign(context: Context) -> list[str]:
    """Runs that only another version of the program could go on with, of which none lives, begin anew; their ids.

    While such a program lives, with a heartbeat, it carries them to their end.
    """
    known = await engine.active()
    alive = {found.contract for found in executors.all_executors(context.store) if found.seconds_left > 0}
    ended = []
    for run in runs.active_runs(context.store):
        contract = known.get(run.run_id, CONTRACT_VERSION)
        if contract == CONTRACT_VERSION or contract in alive:
            continue
        if claims.run_of(context.store, run.task_id)[0] == run.run_id:
            continue
        await engine.forget(run.run_id)
        reason = f"agentd was changed under it: it began with version {contract} of a run's stages"
        attempts.refund(context.store, run.run_id)
        verdict = _verdict("contract_changed", Decision.hold, run, reason)
        context.decided(verdict, run, source="reconciler")
        fields = end_fields("contract_changed")
        runs.change_state(context.store, run.run_id, RunState.failed_retry, reason=reason, **fields)
        context.emit("run_failed", run, {"reason": reason}, status="skipped", source="reconciler")
        ended.append(run.run_id)
    return ended


def mind_untaken(context: Context) -> None:
    """Runs that nobody carries: a cancelled one that never began ends, and one that stays so is told as a hold."""
    patience = timedelta(seconds=2 * context.settings.claim.lease_seconds)
    for run in runs.active_runs(context.store):
        if run.executor:
            continue
        if run.cancel_reason and run.state is RunState.queued:
            context.decided(_verdict("cancelled", Decision.block, run, run.cancel_reason), run, source="reconciler")
            fields = end_fields("cancelled")
            runs.change_state(context.store, run.run_id, RunState.cancelled, reason=run.cancel_reason, **fields)
        elif context.clock.now() - run.updated_at > patience:
            verdict = Verdict(
                control="fleet",
                rule_id="no_taker",
                decision=Decision.hold,
                scope=hold_scope(run.run_id),
                observed=f"no host has taken run {run.run_id} since {run.updated_at:%Y-%m-%d %H:%M} UTC",
                action="see `agentd workers list`: start one that has its agent, or `agentd runs cancel`",
            )
            context.hold(verdict, run, source="reconciler")


def free_stranded(context: Context, world: World) -> bool:
    """Issues in progress that nobody works on go back to todo: a lost store, a crash, a foreign claim that ran out.

    Without claims on the remote only tasks that this store knows can be judged.
    """
    told = {run.issue_number for run in world.latest.values() if STATUS_LABEL[run.state] is not None}
    waiting = [
        issue
        for issue in world.issues.values()
        if status_label(issue.labels) == "status:in-progress" and issue.number not in told
    ]
    if not waiting:
        return False
    remote = context.settings.claim.remote
    if remote:
        fetch_claims(context.mirror)
    freed = False
    for issue in waiting:
        task_id = task_id_of(issue)
        seen = seen_claim(context.mirror, task_id) if remote else None
        if task_id in world.latest if not remote else seen is None or is_over(context, task_id, seen):
            with suppress(NotFound):
                freed |= _free(context, issue.number)
    return freed


def _free(context: Context, number: int) -> bool:
    """The issue is asked for again first: the list may be older than the end of its run, which may have closed it."""
    issue = get_issue(context.github, number)
    if issue.state != "open" or status_label(issue.labels) != "status:in-progress":
        return False
    return set_status(context.github, number, "status:todo", issue.labels)


def follow_people(context: Context, world: World) -> bool:
    """Obey label edits and closed issues, repair labels that are not what the store says; True when any changed."""
    changed = False
    for run in world.latest.values():
        issue = next((found for number, found in world.issues.items() if number == run.issue_number), None)
        if run.state in ACTIVE and issue is None:
            _cancel(context, run)
        elif issue is not None:
            # Deleted, but still in the list until that is read in full again; or no room for a label.
            with suppress(NotFound, Rejected):
                changed |= _settle_labels(context, run, issue)
    return changed


def follow_pulls(context: Context) -> list[Run]:
    """Runs in review whose pull request was merged, closed or opened again; those that moved, as they are now."""
    waiting = runs.runs_in(context.store, RunState.in_review, RunState.closed_unmerged)
    if not waiting:
        return []
    pulls = {pull.number: pull for pull in recently_changed_pulls(context.github)}
    if len(pulls) >= PER_PAGE:
        pulls |= _older_pulls(context, [run for run in waiting if run.pr_number not in pulls])
    moved = []
    for run in waiting:
        pull = pulls.get(run.pr_number or 0)
        if pull is None or claims.run_of(context.store, run.task_id)[0] == run.run_id:
            continue  # while it is still saying its last words they would come after ours
        if pull.merged:
            moved.append(_merged(context, run, pull))
        elif pull.state == "closed" and run.state is RunState.in_review:
            moved.append(_closed(context, run))
        elif pull.state == "open" and run.state is RunState.closed_unmerged:
            fields = review_fields(RunState.in_review)
            moved.append(runs.change_state(context.store, run.run_id, RunState.in_review, **fields))
    return moved


def _older_pulls(context: Context, waiting: list[Run]) -> dict[int, Pull]:
    """Pull requests that are not among the newest, by number: a few each tick, so that every one has its turn."""
    old = sorted((run for run in waiting if run.state is RunState.in_review), key=lambda run: run.run_id)
    if len(old) > LOOKS_PER_TICK:
        last = looks.last_look(context.store)
        old = [*(run for run in old if run.run_id > last), *(run for run in old if run.run_id <= last)]
        old = old[:LOOKS_PER_TICK]
        # Before the looks: one that GitHub fails at must not be the first of every tick.
        looks.note_look(context.store, old[-1].run_id)
    asked = (_pull(context, run.pr_number) for run in old if run.pr_number)
    return {pull.number: pull for pull in asked if pull is not None}


def _cancel(context: Context, run: Run) -> None:
    """The issue of a living run is not in the list any more: find out why, and end the run."""
    if run.cancel_reason:
        context.cancels.setdefault(run.run_id, run.cancel_reason)
        return
    if reason := unwanted(context.github, run.issue_number):
        cancel_run(context, run.run_id, reason)


def cancel_run(context: Context, run_id: str, reason: str) -> None:
    """Ask a run to end; its executor obeys within a beat, saves the work, and records the end."""
    runs.update_run(context.store, run_id, cancel_reason=reason)
    context.cancels[run_id] = reason


def _settle_labels(context: Context, run: Run, issue: Issue) -> bool:
    current, wanted = status_label(issue.labels), STATUS_LABEL[run.state]
    if wanted is None:
        return False
    if run.state in ACTIVE and run.label != wanted:
        return False  # it has not announced itself, and may find that somebody else has the claim
    untold = run.label != wanted
    if untold and claims.run_of(context.store, run.task_id)[0] == run.run_id:
        return False  # it is about to say so itself
    if current == wanted:
        if untold:
            _say(context, run)
            runs.update_run(context.store, run.run_id, label=wanted)
        return False
    if run.label == current == "status:todo":
        return False  # asked for again, and waiting for its next run
    if run.label == wanted and current == "status:todo" and run.state not in ACTIVE:
        return _requeue(context, run)
    if run.label == wanted and current == "status:blocked" and run.state not in ACTIVE:
        return False  # a person stopped it; not ours to undo
    set_status(context.github, issue.number, wanted, issue.labels)
    if untold:
        _say(context, run)
    runs.update_run(context.store, run.run_id, label=wanted)
    data = {"add_labels": [wanted], "remove_labels": [current] if current else [], "reason": "reconcile"}
    context.emit("issue_labeled", run, data, source="reconciler")
    return True


def _say(context: Context, run: Run) -> None:
    """The comment that a run could not write itself, because GitHub was ill or the claim gone at its end."""
    body = sticky_body(open_desk(context, run.run_id), run.state, reason=run.reason, pull_url=run.pr_url)
    _comment(context, run, body)


def _comment(context: Context, run: Run, body: str) -> None:
    """The comment, where the issue takes one: one that is full or locked must not keep all others waiting."""
    try:
        upsert_sticky(context.github, run.issue_number, STICKY, body)
    except (Forbidden, Rejected) as error:
        context.emit("issue_labeled", run, {"reason": str(error)}, status="skipped", source="reconciler")


def _requeue(context: Context, run: Run) -> bool:
    """A person set status:todo again: earlier attempts do not count, holds end, a run in review is superseded.

    The issue is asked for again first: the list may be older than what the store says, because GitHub's answers lag
    or because this process was stopped in between, and then it was the run itself that changed the label since.
    """
    if status_label(get_issue(context.github, run.issue_number).labels) != "status:todo":
        return False
    attempts.clear(context.store, run.task_id)
    holds.lift(context.store, run.task_id)
    if run.state is RunState.in_review:
        reason = "superseded: status:todo was set"
        context.decided(_verdict("cancelled", Decision.block, run, reason), run, source="reconciler")
        fields = review_fields(RunState.cancelled)
        runs.change_state(context.store, run.run_id, RunState.cancelled, reason=reason, **fields)
    else:
        runs.update_run(context.store, run.run_id, label="status:todo")
    return True


def _verdict(rule_id: str, decision: Decision, run: Run, observed: str) -> Verdict:
    scope = f"run:{run.run_id}"
    return Verdict(control="run", rule_id=rule_id, decision=decision, scope=scope, observed=observed)


def _merged(context: Context, run: Run, pull: Pull) -> Run:
    gh = context.github
    body = sticky_body(open_desk(context, run.run_id), RunState.merged, pull_url=pull.url)
    with suppress(NotFound):  # somebody deleted the issue
        close_issue(gh, run.issue_number)
        set_status(gh, run.issue_number, None)
        _comment(context, run, body)
    if pull.head_ref == run.branch and pull.head_repo.casefold() == gh.repo.casefold():
        with suppress(Rejected, Forbidden):  # protected, or somebody has pushed more: theirs now
            delete_branch(gh, run.branch, pull.head_sha)
    merged_at = pull.merged_at or context.clock.now()
    ended = runs.change_state(
        context.store, run.run_id, RunState.merged, merged_at=merged_at, label="", **review_fields(RunState.merged)
    )
    attempts.clear(context.store, run.task_id)
    data = {"pr_number": pull.number, "pr_url": pull.url, "merged_at": merged_at.isoformat(), "dry_run": False}
    context.emit("run_completed", run, data, source="reconciler")
    if pull.head_sha == run.head_sha:
        _remove_workspace(context, run)
    return ended


def _remove_workspace(context: Context, run: Run) -> None:
    """Once what was merged is all that it holds; otherwise, and on other hosts, it is left to the clean-up."""
    with suppress(GitError, ConfigurationError):
        place = find(context.mirror, context.run_dir(run.run_id))
        if place is None:
            return
        with reading(open_desk(context, run.run_id), place) as reader:
            found = snapshot(context.mirror, place, reader)
        if found.is_whole and found.tree == tree_of(context.mirror, run.head_sha):
            discard(context.mirror, place)


def _closed(context: Context, run: Run) -> Run:
    gh, state = context.github, RunState.closed_unmerged
    with suppress(NotFound):  # somebody deleted the issue
        issue = get_issue(gh, run.issue_number)
        if issue.state == "open":
            set_status(gh, run.issue_number, STATUS_LABEL[state], issue.labels)
            _comment(context, run, sticky_body(open_desk(context, run.run_id), state))
    reason = "the pull request was closed"
    context.decided(_verdict("pull_closed", Decision.block, run, reason), run, source="reconciler")
    ended = runs.change_state(
        context.store, run.run_id, state, reason=reason, label="status:blocked", **review_fields(state)
    )
    data = {"reason": str(state), "pr_url": run.pr_url, "dry_run": False}
    context.emit("run_failed", run, data, status="failed", source="reconciler")
    return ended


def _pull(context: Context, number: int) -> Pull | None:
    try:
        return pull_state(context.github, number)
    except NotFound:
        return None
