"""Collect and verify: a commit of what the agent left, and the proof that it is good.

The verify command sees the workspace; afterwards the workspace's tracked files must still equal the commit,
so that what was verified is what will be pushed.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from agentd.agents import LaunchSpec
from agentd.agents.environment import base_environment
from agentd.errors import ClaimLost, ConfigurationError, GitError
from agentd.git import collect as git_collect
from agentd.git.changes import with_markers
from agentd.git.mirror import tree_of
from agentd.git.workspace import Workspace, note_kept
from agentd.github.text import one_line
from agentd.model import Profile, Verdict
from agentd.policy.fingerprints import history_of
from agentd.policy.run_controls import RunControls, evaluate, verdict_of
from agentd.run.desk import Desk, RunEnd, conclusive, supervise
from agentd.run.enclosure import enclosed, programs_in, reading
from agentd.run.judging import judge_diff
from agentd.run.process import NO_SANDBOX, Ended, Program, output_of
from agentd.run.stages.start import keep
from agentd.states import RunState

OUTPUT_CHARACTERS = 8_000


async def collect(desk: Desk, place: Workspace, start: dict[str, Any]) -> dict[str, Any]:
    """Commit what the agent left, and judge it: {commit, tree, refused}.

    `refused` says what of it may not be published; then `commit` is empty, and stays on this host. Raises RunEnd when
    there is nothing, or nothing usable.
    """
    context, task = desk.context, desk.task
    mirror = context.mirror
    try:
        with reading(desk, place) as reader:
            await asyncio.to_thread(git_collect.keep_commits, mirror, place, desk.run.run_id, reader)
            found = await asyncio.to_thread(git_collect.snapshot, mirror, place, reader)
    except (GitError, ConfigurationError) as error:
        raise RunEnd(RunState.failed, f"the agent's work cannot be read: {error}", rule="work_unreadable") from None
    if found.nested:
        names = ", ".join(found.nested)
        raise RunEnd(
            RunState.failed,
            f"the agent left a git repository inside the working tree: {names}",
            rule="nested_repository",
        )
    if found.refused:
        said = f"git cannot read files that the agent left: {', '.join(found.refused)}"
        raise RunEnd(RunState.failed, said, rule="work_unreadable")
    if found.tree == tree_of(mirror, start["base"]) and not start["conflicts"]:
        raise RunEnd(RunState.no_changes, "the agent ended without changing anything", rule="no_changes")
    if found.tree == tree_of(mirror, start["start"]) and not start["conflicts"]:
        commit = start["start"]  # the branch had the work already, from an earlier run
    else:
        message = f"feat({task.task_id}): {task.title}\n\nRun: {desk.run.run_id}\nIssue: #{task.issue_number}\n"
        commit = await asyncio.to_thread(
            git_collect.commit, mirror, found.tree, start["parents"], message, desk.run.run_id
        )
    refused = [_said(verdict) for verdict in await asyncio.to_thread(judge_diff, desk, start["start"], found.tree)]
    if marked := await asyncio.to_thread(with_markers, mirror, commit, start["conflicts"]):
        refused.append(f"marks of the conflict are still in {', '.join(marked)}")
    note_kept(desk.run_dir, place, commit)
    if refused:
        return {"commit": "", "tree": found.tree, "refused": refused, "marked": bool(marked)}
    await keep(desk, commit)
    return {"commit": commit, "tree": found.tree, "refused": []}


def _said(verdict: Verdict) -> str:
    limit = f" (limit: {verdict.limit})" if verdict.limit else ""
    return f"{verdict.observed}{limit}: {', '.join(verdict.evidence)}. {verdict.action}"


def refusal(made: dict[str, Any]) -> RunEnd:
    """The end of a run whose last turn left what may not be published."""
    detail = "\n".join(f"- {one_line(reason, 2_000)}" for reason in made["refused"])
    if made["marked"]:
        return RunEnd(
            RunState.conflict_retry,
            "the conflict was not resolved",
            rule="conflict_unresolved",
            cause="conflict",
            detail=detail,
        )
    return RunEnd(RunState.halted, "what the agent left may not be published", rule="diff_refused", detail=detail)


def rejection(desk: Desk, verified: dict[str, Any], turn: int) -> RunEnd:
    """The end of a run whose last turn did not pass."""
    return RunEnd(
        RunState.verify_failed,
        f"`{desk.task.verify_command}` ended with {verified['exit_status']} after {turn + 1} turns of the agent",
        rule="verify_failed",
        detail=fenced(verified["output"]),
    )


def going_nowhere(desk: Desk, rounds: list[dict[str, Any]], controls: RunControls, end: RunEnd) -> RunEnd | None:
    """The end of a run whose rounds repeat themselves, by the run controls; `end` is what it would have been else."""
    result = evaluate(history_of(rounds), controls)
    verdict = verdict_of(result, f"run:{desk.run.run_id}")
    if verdict is None:
        return None
    reason = f"the run goes nowhere: {verdict.rule_id}, {verdict.observed} (limit: {verdict.limit})"
    detail = f"{result['reason']['rendered']}\n{end.reason}\n\n{end.detail}"
    return RunEnd(RunState.halted, reason, rule=verdict.rule_id, detail=detail, verdict=verdict)


async def verify(desk: Desk, place: Workspace, collected: dict[str, Any], name: str) -> dict[str, Any]:
    """Run the verify command: {passed, exit_status, output}. Raises RunEnd when it changed or never ended."""
    context, settings, task = desk.context, desk.context.settings, desk.task
    command = task.verify_command
    desk.require_wanted()
    desk.move(RunState.verifying)
    context.emit("verify_started", desk.run, {"verify_command": command})
    ended = conclusive(desk, name)
    if ended is None:
        try:
            ended = await _run(desk, place, name)
        except ConfigurationError as error:
            raise RunEnd(RunState.failed, str(error), rule="verify_unusable") from None
        except OSError as error:
            raise RunEnd(
                RunState.failed_retry, f"the host is in trouble: {error}", rule="host_trouble", cause="infrastructure"
            ) from None
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
        raise RunEnd(
            RunState.verify_failed,
            f"`{command}` did not end within {limit}",
            rule="verify_timeout",
            detail=fenced(output),
        )
    if ended.ended == "limit":
        raise RunEnd(
            RunState.verify_failed,
            f"`{command}` passed a limit: {ended.message}",
            rule="verify_limit",
            detail=fenced(output),
        )
    if ended.ended == "not_started" and ended.message.startswith(NO_SANDBOX):
        raise RunEnd(RunState.failed_retry, ended.message, rule="sandbox_missing", cause="infrastructure")
    if ended.ended == "not_started":
        raise RunEnd(RunState.failed, f"`{command}` cannot be started: {ended.message}", rule="verify_unusable")
    if ended.ended in {"lease_lost", "orphaned"}:
        raise ClaimLost(f"{task.task_id}: the lease ran out during verify")
    with reading(desk, place) as reader:
        after = await asyncio.to_thread(git_collect.tracked_tree, context.mirror, place, reader) if passed else ""
        if passed and after != collected["tree"]:
            reason = f"`{command}` passed, but changed files that belong to the commit"
            raise RunEnd(RunState.verify_failed, reason, rule="verify_changed_files", detail=fenced(output))
        # Caches and reports of the verify command are no part of what the agent leaves.
        await asyncio.to_thread(git_collect.clean, context.mirror, place, reader)
    return {"passed": passed, "exit_status": ended.exit_status, "output": output}


async def _run(desk: Desk, place: Workspace, name: str) -> Ended:
    """The verify command under the guardian, in an enclosure with a home of its own. Raises ConfigurationError."""
    settings = desk.context.settings
    programs = programs_in(desk.task.verify_command)
    async with enclosed(desk, place, desk.run_dir / "verify-home", programs=programs) as inside:
        # As an agent's environment: built from names that are allowed.
        nobody = Profile(name="verify", adapter="command")
        spec = LaunchSpec("", inside.workspace, inside.home, nobody, inside.environ, 0, inside.home / "none")
        program = Program(
            name,
            (shutil.which("bash") or "/bin/sh", "-c", desk.task.verify_command),
            base_environment(spec),
            inside.workspace,
            settings.verify_timeout_minutes * 60,
            settings.max_output_bytes,
            grace_seconds=1.0,
            secrets=desk.secrets,
        )
        return await supervise(desk, inside.contain(program, desk.run_dir), desk.run_dir / f"{name}.log")


def fenced(output: str) -> str:
    """The end of verify's output for a comment."""
    return f"End of its output:\n\n```\n{output[-2000:].replace('```', '` ` `')}\n```"


def _output(desk: Desk, name: str) -> str:
    log = desk.run_dir / f"{name}.log"
    source = log if log.exists() else output_of(desk.run_dir, name)
    text = source.read_bytes()[-4 * OUTPUT_CHARACTERS :].decode(errors="replace")
    return text[-OUTPUT_CHARACTERS:]
