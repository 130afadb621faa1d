"""The agent's turn: one process under the guardian, judged by its events first and its exit status second."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agentd.agents import EventParser, LaunchSpec, Outcome, adapter_of, executable_of
from agentd.agents.environment import secret_values
from agentd.errors import ClaimLost, ConfigurationError
from agentd.git.workspace import Workspace
from agentd.run.desk import Desk, RunEnd, conclusive, supervise
from agentd.run.enclosure import enclosed
from agentd.run.notices import Notices, out_of_quota
from agentd.run.process import NO_SANDBOX, Ended, Program, output_of, result_of, was_started
from agentd.states import RunState

LINE_LIMIT = 1 << 20
TAIL_BYTES = 8_000
SHOW_SECONDS = 0.3
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
    ended = conclusive(desk, name) or await _start(desk, place, name, prompt, resume, notices)
    outcome = await asyncio.to_thread(_judge, desk, name, ended)
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


async def _start(desk: Desk, place: Workspace, name: str, prompt: str, resume: str | None, notices: Notices) -> Ended:
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
                endpoint=inside.door.endpoint if inside.door is not None else {},
            )
            launch = adapter.launch(spec)
            for path, text in launch.files.items():
                inside.write(path, text)
            program = Program(
                name,
                launch.argv,
                launch.env,
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
            return await _watched(desk, contained, name, notices)
    except ConfigurationError as error:
        raise RunEnd(RunState.failed, str(error), rule="agent_unusable") from None
    except OSError as error:
        raise RunEnd(
            RunState.failed_retry, f"the host is in trouble: {error}", rule="host_trouble", cause="infrastructure"
        ) from None


async def _watched(desk: Desk, program: Program, name: str, notices: Notices) -> Ended:
    """Run the program, and hand its events on to whoever watches."""
    over = asyncio.Event()
    parser = adapter_of(desk.profile).parser()
    watcher = asyncio.create_task(_show(desk, output_of(desk.run_dir, name), parser, over))
    try:
        return await supervise(desk, program, desk.log_path, lambda: notices.is_over)
    finally:
        over.set()
        await watcher


def _judge(desk: Desk, name: str, ended: Ended) -> dict[str, Any]:
    """The outcome as JSON, from everything that was kept of the output. What it says is not believed too far."""
    parser = adapter_of(desk.profile).parser()
    try:
        with output_of(desk.run_dir, name).open("rb") as output:
            while line := output.readline(LINE_LIMIT):
                parser.feed(line)
        outcome = asdict(parser.close(ended.exit_status, tail_of(desk.log_path)))
    except Exception as error:  # whatever an agent may write that its parser did not foresee
        outcome = asdict(Outcome("failed", message=f"its output cannot be read: {error!r}"))
    session = outcome["session_id"]
    latest = desk.context.clock.now() + LONGEST_QUOTA
    seconds, retry_at = outcome["retry_after_seconds"], outcome["retry_at"]
    return outcome | {
        "message": str(outcome["message"]).encode(errors="replace").decode(),
        "session_id": session if isinstance(session, str) and SESSION.fullmatch(session) else None,
        "retry_after_seconds": min(seconds, LONGEST_QUOTA.total_seconds()) if seconds else None,
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


async def _show(desk: Desk, path: Path, parser: EventParser, over: asyncio.Event) -> None:
    """Hand the agent's events on while they come, when somebody watches; the last ones after its end."""
    show = desk.context.show
    if show is None:
        return
    rest, position, last = b"", 0, False
    while not last:
        last = over.is_set()
        try:
            with path.open("rb") as output:
                output.seek(position)
                received = output.read()
        except OSError:
            received = b""
        position += len(received)
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            for event in parser.feed(line[:LINE_LIMIT] + b"\n"):
                show(desk.run.run_id, event)
        if not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SHOW_SECONDS)
