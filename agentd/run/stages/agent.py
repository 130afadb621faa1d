"""The agent's turn: one process under the guardian, judged by its events first and its exit status second."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agentd.agents import LaunchSpec, Outcome, adapter_of, executable_of
from agentd.agents.environment import secret_values
from agentd.errors import ClaimLost, ConfigurationError
from agentd.git.workspace import Workspace
from agentd.model import Step
from agentd.plain import storable
from agentd.policy.retry import waits_seconds
from agentd.run import recording
from agentd.run.desk import Desk, RunEnd, conclusive, supervise
from agentd.run.enclosure import enclosed
from agentd.run.notices import Notices, out_of_quota
from agentd.run.process import NO_SANDBOX, Ended, Program, output_of, result_of, was_started
from agentd.run.watching import Reader
from agentd.states import RunState
from agentd.trace.span import traceparent

TAIL_BYTES = 8_000
SESSION = re.compile(r"[\w.:/@+-]{1,200}")
LONGEST_QUOTA = timedelta(days=1)
"""The longest wait for a quota that an agent's output may ask for: it holds every task of the profile."""
QUOTA_SECONDS = 300.0
"""Wait for a quota that did not say when it resets."""


async def work(desk: Desk, place: Workspace, turn: int, prompt: str, resume: str | None) -> dict[str, Any]:
    """One turn of the agent: {outcome, session_id, exit_status, seconds}. Raises RunEnd when it did not do its part.

    A turn that ended before its worker did is not repeated: its result file is the proof.
    """
    desk.require_wanted()
    desk.move(RunState.running if turn == 0 else RunState.fixing)
    name, notices = f"agent-{turn}", Notices(desk)
    ended = conclusive(desk, name)
    if ended is not None:
        reader = _reader(desk, name, recording.last_turn(desk, name))
        await reader.follow(_now())
    else:
        ended, reader = await _start(desk, place, name, prompt, resume, notices)
    judged = reader.outcome(ended.exit_status, tail_of(desk.log_path))
    recording.end_turn(desk, reader.turn, judged)
    if reader.dropped:
        recording.tell_dropped(desk, reader.dropped, reader.why_dropped)
    outcome = _as_json(desk, judged)
    desk.context.emit(
        "agent_finished",
        desk.run,
        {"exit_code": ended.exit_status, "outcome": outcome["kind"], "ended": ended.ended},
        status="ok" if outcome["kind"] == "success" else "failed",
    )
    notices.require_allowed()
    if outcome["kind"] not in ("success", "no_change"):
        notices.require_none()
    _require_good(desk, ended, outcome)
    return outcome


async def _start(
    desk: Desk, place: Workspace, name: str, prompt: str, resume: str | None, notices: Notices
) -> tuple[Ended, Reader]:
    context, profile, settings = desk.context, desk.profile, desk.context.settings
    before = result_of(desk.run_dir, name)
    if was_started(desk.run_dir, name) and (before is None or before.ended != "stopped"):
        desk.charge_restart()  # not when the operator stopped it
    limit_seconds = settings.max_agent_runtime_minutes * 60
    try:
        adapter = adapter_of(profile)
        found = await asyncio.to_thread(adapter.probe, executable_of(profile), context.environ)
    except ConfigurationError as error:
        raise RunEnd(RunState.failed, str(error), rule="agent_unusable") from None
    try:
        programs = [found.path] if found.path.is_absolute() else []
        home = desk.run_dir / "home"
        async with enclosed(desk, place, home, programs=programs, needs=found.needs, agent=notices) as inside:
            spec = LaunchSpec(
                prompt=prompt,
                workspace=inside.workspace,
                home=inside.home,
                profile=profile,
                base_env=inside.environ,
                limit_seconds=limit_seconds,
                resume=resume,
                prompt_file=inside.home / f".{name}.prompt",
                found=found,
                sandboxed=inside.spec is not None,
                hook=inside.doors.hook,
                waits_seconds=waits_seconds(context.policy.document.retry, f"{desk.run.run_id}/{name}"),
                endpoint=inside.door.endpoint if inside.door is not None else {},
                telemetry=inside.telemetry,
            )
            launch = adapter.launch(spec)
            for path, text in launch.files.items():
                inside.write(path, text)
            turn = recording.begin_turn(desk, name)
            program = Program(
                name,
                launch.argv,
                {**launch.env, "TRACEPARENT": traceparent(desk.run.run_id, turn.step_id)},
                inside.workspace,
                limit_seconds,
                settings.max_output_bytes,
                launch.stdin,
                startup_seconds=settings.agent_startup_minutes * 60,
                silence_seconds=settings.agent_silence_minutes * 60,
                watched=(place.files, inside.host_home),
                secrets=(*context.secrets, *secret_values(launch.env)),
            )
            contained = inside.contain(program, desk.run_dir)
            context.emit(
                "agent_started",
                desk.run,
                {
                    "command": launch.argv[0],
                    "agent": profile.address,
                    "timeout_minutes": settings.max_agent_runtime_minutes,
                    "sandbox": "required" if desk.is_sandboxed else "none",
                },
            )
            return await _watched(desk, contained, turn, notices)
    except ConfigurationError as error:
        raise RunEnd(RunState.failed, str(error), rule="agent_unusable") from None
    except OSError as error:
        raise RunEnd(
            RunState.failed_retry, f"the host is in trouble: {error}", rule="host_trouble", cause="infrastructure"
        ) from None


async def _watched(desk: Desk, program: Program, turn: Step, notices: Notices) -> tuple[Ended, Reader]:
    """Run the program; its output is read meanwhile, and to its end."""
    over = asyncio.Event()
    output_of(desk.run_dir, program.name).unlink(missing_ok=True)  # of a process that was interrupted
    reader = _reader(desk, program.name, turn)
    reading = asyncio.create_task(reader.follow(over))
    try:
        ended = await supervise(desk, program, desk.log_path, lambda: notices.is_over)
    finally:
        over.set()
        await reading
    return ended, reader


def _reader(desk: Desk, name: str, turn: Step) -> Reader:
    return Reader(desk, output_of(desk.run_dir, name), turn, adapter_of(desk.profile).parser())


def _now() -> asyncio.Event:
    over = asyncio.Event()
    over.set()
    return over


def _as_json(desk: Desk, judged: Outcome) -> dict[str, Any]:
    """The outcome as JSON. What it says is not believed too far."""
    outcome = asdict(judged)
    session = outcome["session_id"]
    latest = desk.context.clock.now() + LONGEST_QUOTA
    seconds, retry_at = outcome["retry_after_seconds"], outcome["retry_at"]
    return outcome | {
        "message": storable(str(outcome["message"])),
        "session_id": session if isinstance(session, str) and SESSION.fullmatch(session) else None,
        "retry_after_seconds": min(seconds, LONGEST_QUOTA.total_seconds()) if seconds and seconds > 0 else None,
        "retry_at": min(retry_at, latest).isoformat() if retry_at else None,
    }


def _require_good(desk: Desk, ended: Ended, outcome: dict[str, Any]) -> None:
    said = outcome["message"] or f"exit status {ended.exit_status}"
    detail = f"End of its output:\n\n```\n{tail_of(desk.log_path)[-2000:]}\n```"
    settings = desk.context.settings
    if ended.ended == "timeout":
        limit = f"{settings.max_agent_runtime_minutes:g} minutes"
        raise RunEnd(RunState.halted, f"the agent did not end within {limit}", rule="agent_timeout", detail=detail)
    if ended.ended in {"lease_lost", "orphaned"}:
        raise ClaimLost(f"{desk.task.task_id}: the lease ran out while the agent worked")
    if ended.ended == "lifeless":
        reason = f"the agent showed no sign of life for {settings.agent_startup_minutes:g} minutes after its start"
        raise RunEnd(
            RunState.failed_retry,
            f"{reason} (agent_startup_minutes)",
            rule="agent_lifeless",
            cause="agent",
            detail=detail,
        )
    if ended.ended == "silent":
        reason = f"the agent wrote nothing and changed no file for {settings.agent_silence_minutes:g} minutes"
        raise RunEnd(
            RunState.failed_retry,
            f"{reason} (agent_silence_minutes)",
            rule="agent_silent",
            cause="agent",
            detail=detail,
        )
    if ended.ended == "limit":
        raise RunEnd(RunState.halted, f"the agent passed a limit: {ended.message}", rule="agent_limit", detail=detail)
    if ended.ended == "not_started" and ended.message.startswith(NO_SANDBOX):
        raise RunEnd(
            RunState.failed_retry, ended.message, rule="sandbox_missing", cause="infrastructure", detail=detail
        )
    if ended.ended == "not_started":
        raise RunEnd(RunState.failed, f"the agent cannot be started: {ended.message}", rule="agent_not_started")
    match outcome["kind"]:
        case "success" | "no_change":
            return
        case "auth_error":
            raise RunEnd(
                RunState.failed,
                f"the agent's model refused its credential: {said}",
                rule="model_credential",
                detail=detail,
            )
        case "api_error":
            reason = f"the agent's model failed: {said}"
            raise RunEnd(RunState.failed_retry, reason, rule="model_failed", cause="infrastructure", detail=detail)
        case "quota":
            raise _out_of_quota(desk, outcome, said)
        case "limit" | "timeout":
            raise RunEnd(
                RunState.halted,
                f"the agent stopped at a limit of its own: {said}",
                rule="agent_own_limit",
                detail=detail,
            )
        case _:
            raise RunEnd(
                RunState.failed_retry, f"the agent failed: {said}", rule="agent_failed", cause="agent", detail=detail
            )


def _out_of_quota(desk: Desk, outcome: dict[str, Any], said: str) -> RunEnd:
    """A used-up quota that only the agent knows of: by when it says that there is one again."""
    now = desk.context.clock.now()
    seconds = outcome["retry_after_seconds"] or QUOTA_SECONDS
    retry_at = datetime.fromisoformat(outcome["retry_at"]) if outcome["retry_at"] else now + timedelta(seconds=seconds)
    return out_of_quota(desk, f"the model's quota is used up: {said}", retry_at)


def tail_of(path: Path) -> str:
    """The last 8,000 bytes of a log as text."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""
