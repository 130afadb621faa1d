"""`agentd once`: one whole tick in the foreground."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentd.cli.options import WITHOUT_SANDBOX, ConfigFile, DryRun, Json, MaxParallel, Repo, ready_settings

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.model import Run
    from agentd.supervisor.tick import Tick

NoWait = Annotated[bool, typer.Option("--no-wait", help="Return after dispatch; the runs go on in a supervisor.")]


def once(
    repo: Repo = None,
    config: ConfigFile = None,
    max_parallel: MaxParallel = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Do one tick, and carry the runs that it starts to their end.

    Exits 0, or 1 when a run ended badly. A dry run prints the plan, with the reason for every task that is not
    taken, and writes nothing.
    """
    settings = ready_settings(config, repo=repo, max_parallel=max_parallel, dry_run=dry_run or None)
    if settings.dry_run:
        _dry(settings, as_json)
        return
    _run(settings, wait=not no_wait, as_json=as_json)


def _dry(settings: Settings, as_json: bool) -> None:
    import asyncio

    from agentd.supervisor.rehearsal import rehearse

    done = asyncio.run(rehearse(settings, os.environ))
    if as_json:
        typer.echo(json.dumps({"dry_run": True, "plan": plan_json(done), "runs": []}, indent=2))
        return
    print_plan(done)
    typer.echo("dry run: nothing was written")


def _run(settings: Settings, *, wait: bool, as_json: bool) -> None:
    import asyncio

    from agentd.cli.show import live_printer
    from agentd.states import BLOCKED_ENDS, RETRY_ENDS
    from agentd.supervisor.daemon import leave, once, open_context
    from agentd.supervisor.process import only_one

    seen: list[Tick] = []

    if settings.sandbox == "none" and not as_json:
        typer.echo(WITHOUT_SANDBOX)

    def told(done: Tick) -> None:
        seen.append(done)
        if not as_json:
            print_plan(done)

    with only_one(settings.state_dir):
        context = open_context(settings, os.environ, None if as_json else live_printer())
        ended = asyncio.run(once(context, wait=wait, told=told))
        bad = [run for run in ended if run.state in BLOCKED_ENDS | RETRY_ENDS]
        if as_json:
            summary = {
                "dry_run": False,
                "sandbox": settings.sandbox,
                "plan": plan_json(seen[0]),
                "runs": [run_json(run) for run in ended],
                "moved": [run_json(run) for run in seen[0].moved],
                "hold": seen[0].hold.model_dump(mode="json") if seen[0].hold else None,
            }
            typer.echo(json.dumps(summary, indent=2))
        else:
            for run in ended:
                typer.echo(run_line(run))
    leave(130 if context.stopping.is_set() else 1 if bad or seen[0].hold else 0)


def plan_json(done: Tick) -> list[dict[str, Any]]:
    """The plan for programs."""
    return [
        {
            "task_id": candidate.task.task_id,
            "issue_number": candidate.issue.number,
            "title": candidate.task.title,
            "decision": str(candidate.verdict.decision),
            "rule_id": candidate.verdict.rule_id,
            "reason": candidate.verdict.observed,
            "action": candidate.verdict.action,
            "retry_at": candidate.verdict.retry_at.isoformat() if candidate.verdict.retry_at else None,
        }
        for candidate in done.candidates
    ]


def run_json(run: Run) -> dict[str, Any]:
    """A run for programs."""
    return run.model_dump(mode="json")


def print_plan(done: Tick) -> None:
    """One line a task: started, or the reason why not."""
    from agentd.model import Decision

    started = {run.task_id: run for run in done.started}
    for candidate in done.candidates:
        verdict, task = candidate.verdict, candidate.task
        if task.task_id in started:
            word, rest = "start", f"run {started[task.task_id].run_id}"
        elif verdict.decision is Decision.allow:
            word, rest = "start", "next"
        else:
            word, rest = "hold ", f"{verdict.observed} [{verdict.rule_id}]"
        typer.echo(f"{word} {task.task_id} #{task.issue_number} {task.title[:60]}: {rest}")
    for run in done.moved:
        typer.echo(run_line(run))
    if done.hold is not None:
        until = f" until {done.hold.retry_at:%H:%M:%S} UTC" if done.hold.retry_at else ""
        typer.echo(f"GitHub is not asked{until}: {done.hold.observed} [{done.hold.rule_id}]")
    elif not done.candidates and not done.moved:
        typer.echo("no open issue has the label agent-ready")


def run_line(run: Run) -> str:
    """The end of a run in one line."""
    rest = run.pr_url or run.reason
    return f"{run.state} {run.task_id} {run.run_id}{': ' + rest if rest else ''}"
