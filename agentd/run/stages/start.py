"""Start: what is on the remote is fetched, people are told, and the workspace is made."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from agentd.errors import ConfigurationError, GitError, GitHubError
from agentd.git import mirror as git_mirror
from agentd.git.push import push_work
from agentd.git.workspace import Workspace, prepare
from agentd.github.comments import upsert_sticky
from agentd.github.labels import set_status
from agentd.run.desk import Desk, RunEnd, outside
from agentd.run.layout import layout_for
from agentd.run.report import STICKY, sticky_body
from agentd.run.views import run_inside
from agentd.states import RunState


async def fetch(desk: Desk) -> None:
    """Bring base, branch and claim of the task into the mirror. Raises GitError."""
    await asyncio.to_thread(git_mirror.fetch, desk.context.mirror, desk.task.task_id)


async def announce(desk: Desk) -> dict[str, Any]:
    """Say on GitHub that work has begun: label and sticky comment."""
    desk.require_wanted()
    desk.move(RunState.preparing)

    await _tell(desk)
    return {}


async def announce_again(desk: Desk) -> None:
    """The same for a run that begins at a later stage, each time that it is taken up. Raises RunEnd."""
    desk.require_wanted()
    try:
        await _tell(desk)
    except GitHubError as error:
        raise RunEnd(RunState.failed, str(error), rule="github_refused") from None


async def _tell(desk: Desk) -> None:
    context, number = desk.context, desk.task.issue_number

    def tell() -> None:
        set_status(context.github, number, "status:in-progress")
        upsert_sticky(context.github, number, STICKY, sticky_body(desk, RunState.running))

    await outside(desk, "label and comment at the start", tell)
    desk.note(label="status:in-progress")
    labels = {"add_labels": ["status:in-progress"], "remove_labels": ["status:todo"]}
    context.emit("issue_labeled", desk.run, labels)


async def workspace(desk: Desk, start: dict[str, Any], kept: str = "") -> Workspace:
    """The workspace with what the run has made so far, made or taken up again.

    Every incarnation asks, because a workspace is one host's. `kept` is the run's last commit, empty for none yet.
    """
    context = desk.context
    path = context.settings.workspaces / desk.task.task_id
    desk.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make() -> Workspace:
        bring(desk, start["start"], kept)
        inside = run_inside if desk.is_sandboxed else None
        try:
            layout = layout_for(context.settings, context.mirror, desk.profile, is_sandboxed=desk.is_sandboxed)
        except ConfigurationError as error:
            raise GitError(str(error)) from None  # as whatever else keeps a workspace from being made
        return prepare(context.mirror, path, desk.run_dir, desk.run.branch, start["start"], kept, layout, inside)

    return await asyncio.to_thread(make)


def bring(desk: Desk, *commits: str) -> None:
    """Fetch what another host has made of the run, unless the commits are in this one's mirror. Raises GitError."""
    wanted = {sha for sha in commits if sha} - desk.at_hand
    if all(git_mirror.has_commit(desk.context.mirror, sha) for sha in wanted):
        desk.at_hand.update(wanted)
    else:
        git_mirror.fetch_work(desk.context.mirror, desk.task.task_id)


async def keep(desk: Desk, commit: str) -> None:
    """In a fleet, put the run's commit where another host can go on from it; one host has it in its own mirror."""
    if desk.context.store.is_sqlite:
        return

    def send() -> None:
        push_work(desk.context.mirror, desk.task.task_id, commit, desk.holding.name)

    await outside(desk, "work so far", send)


async def drop(desk: Desk) -> None:
    """Take off the remote what `keep` put there; if that cannot be, the task's next run replaces it.

    Raises ClaimLost: then whoever goes on with the run does it.
    """
    with suppress(GitError, RunEnd):
        await keep(desk, "")
