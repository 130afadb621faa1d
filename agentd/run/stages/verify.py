"""Collect and verify: a commit of what the agent left, and the proof that it is good.

The verify command sees the workspace; afterwards the workspace's tracked files must still equal the commit,
so that what was verified is what will be pushed.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from agentd.agents import LaunchSpec
from agentd.agents.environment import base_environment
from agentd.errors import ClaimLost, GitError
from agentd.git import collect as git_collect
from agentd.git.mirror import tree_of
from agentd.git.workspace import Workspace, note_kept
from agentd.model import Profile
from agentd.run.desk import Desk, RunEnd, conclusive, supervise
from agentd.run.process import Program, output_of
from agentd.run.stages.start import keep
from agentd.states import RunState

OUTPUT_CHARACTERS = 8_000


async def collect(desk: Desk, place: Workspace, start: dict[str, Any]) -> dict[str, Any]:
    """Commit what the agent left: {commit, tree, changed}. Raises RunEnd when there is nothing, or nothing usable."""
    context, task = desk.context, desk.task
    try:
        await asyncio.to_thread(git_collect.keep_commits, context.mirror, place, desk.run.run_id)
        found = await asyncio.to_thread(git_collect.snapshot, context.mirror, place)
    except GitError as error:
        raise RunEnd(RunState.failed, f"the agent's work cannot be read: {error}") from None
    if found.nested:
        names = ", ".join(found.nested)
        raise RunEnd(RunState.failed, f"the agent left a git repository inside the working tree: {names}")
    if found.tree == tree_of(context.mirror, start["base"]):
        raise RunEnd(RunState.no_changes, "the agent ended without changing anything")
    if found.tree == tree_of(context.mirror, start["start"]):
        commit = start["start"]  # the branch had the work already, from an earlier run
    else:
        message = f"feat({task.task_id}): {task.title}\n\nRun: {desk.run.run_id}\nIssue: #{task.issue_number}\n"
        commit = await asyncio.to_thread(
            git_collect.commit, context.mirror, found.tree, start["start"], message, desk.run.run_id
        )
    note_kept(desk.run_dir, place, commit)
    await keep(desk, commit)
    return {"commit": commit, "tree": found.tree, "changed": list(found.changed)}


async def verify(desk: Desk, place: Workspace, collected: dict[str, Any], turn: int) -> dict[str, Any]:
    """Run the verify command: {passed, exit_status, output}. Raises RunEnd when it changed or never ended."""
    context, settings, task = desk.context, desk.context.settings, desk.task
    command = task.verify_command
    desk.require_wanted()
    desk.move(RunState.verifying)
    name = f"verify-{turn}"
    context.emit("verify_started", desk.run, {"verify_command": command})
    ended = conclusive(desk, name)
    if ended is None:
        home = desk.run_dir / "verify-home"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        program = Program(
            name,
            (shutil.which("bash") or "/bin/sh", "-c", command),
            _environment(desk, place, home),
            place.path,
            settings.verify_timeout_minutes * 60,
            settings.max_output_bytes,
            grace_seconds=1.0,
        )
        ended = await supervise(desk, program, desk.run_dir / f"{name}.log")
    output = _output(desk, name)
    passed = ended.ended == "exited" and ended.exit_status == 0
    context.emit(
        "verify_finished",
        desk.run,
        {"verify_command": command, "exit_code": ended.exit_status},
        status="ok" if passed else "failed",
    )
    if ended.ended == "timeout":
        limit = f"{settings.verify_timeout_minutes:g} minutes"
        raise RunEnd(RunState.verify_failed, f"`{command}` did not end within {limit}", detail=fenced(output))
    if ended.ended in {"lease_lost", "orphaned"}:
        raise ClaimLost(f"{task.task_id}: the lease ran out during verify")
    if passed and await asyncio.to_thread(git_collect.tracked_tree, context.mirror, place) != collected["tree"]:
        reason = f"`{command}` passed, but changed files that belong to the commit"
        raise RunEnd(RunState.verify_failed, reason, detail=fenced(output))
    if not passed:
        # Caches and reports of the verify command are no part of what the agent's next turn leaves.
        await asyncio.to_thread(git_collect.clean, context.mirror, place)
    return {"passed": passed, "exit_status": ended.exit_status, "output": output}


def _environment(desk: Desk, place: Workspace, home: Path) -> dict[str, str]:
    """As an agent's: built from names that are allowed, with a home of its own."""
    nobody = Profile(name="verify", adapter="command")
    return base_environment(LaunchSpec("", place.path, home, nobody, desk.context.environ, 0, desk.run_dir / "none"))


def fenced(output: str) -> str:
    """The end of verify's output for a comment."""
    return f"End of its output:\n\n```\n{output[-2000:].replace('```', '` ` `')}\n```"


def _output(desk: Desk, name: str) -> str:
    log = desk.run_dir / f"{name}.log"
    source = log if log.exists() else output_of(desk.run_dir, name)
    text = source.read_bytes()[-4 * OUTPUT_CHARACTERS :].decode(errors="replace")
    return text[-OUTPUT_CHARACTERS:]
