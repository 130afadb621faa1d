"""What an agent did, as Steps: from its output, read once and from its beginning, also after an interruption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.agents import AgentEvent, Outcome, adapter_of
from agentd.agents.events import Final, ToolCall
from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.errors import ClaimLost, GitError
from agentd.model import Profile, Run, Step, Task, stage_step_id
from agentd.run import recording
from agentd.run.context import Context, Order
from agentd.run.desk import Desk, RunEnd
from agentd.run.watching import PIECE_BYTES, Reader
from agentd.states import RunState
from agentd.store import ledger, steps
from agentd.store.connection import Store, open_store
from tests import postgres
from tests.conftest import TurnedClock
from tests.traces import RUN, T0

SECRET = "ghp_" + "a" * 36
TASK = Task(
    task_id="issue-1", issue_number=1, title="t", goal="", verify_command="true", rollback_note="", created_at=T0
)  # fmt: skip


@pytest.fixture
def desk(store: Store, clock: TurnedClock, tmp_path: Path) -> Desk:
    return a_desk(store, clock, tmp_path)


def a_desk(store: Store, clock: Clock, tmp_path: Path) -> Desk:
    settings = Settings.model_validate({"repo": "a/b", "state_dir": tmp_path / "state", "log_dir": tmp_path / "logs"})
    context = Context(settings, store, cast(Any, None), cast(Any, None), clock, "e", {"API_KEY": "sesame-opens"}, "h")
    profile = Profile(name="build", adapter="builtin", model="anthropic:practice")
    run = Run(
        run_id=RUN, task_id="issue-1", issue_number=1, attempt=1, profile=profile.address, state=RunState.running,
        branch="agent/issue-1", started_at=T0, updated_at=T0,
    )  # fmt: skip
    return Desk(context, run, Order(task=TASK, profile=profile, prompt=""))


def line(kind: str, **data: Any) -> bytes:
    return json.dumps({"type": kind, "data": data}).encode() + b"\n"


def called(number: int, name: str = "shell", **given: Any) -> bytes:
    return line("tool_call", id=f"c{number}", name=name, input=given)


def gave(number: int, ok: bool = True, denied: bool = False, output: str = "out") -> bytes:
    return line("tool_result", id=f"c{number}", ok=ok, denied=denied, output=output)


async def read(desk: Desk, path: Path, turn: Step, over: asyncio.Event | None = None) -> Reader:
    reader = Reader(desk, path, turn, adapter_of(desk.profile).parser())
    ended = asyncio.Event()
    ended.set()
    await reader.follow(over or ended)
    return reader


def tools(desk: Desk) -> list[tuple[str, int, str, str]]:
    found = [step for step in steps.steps_of(desk.context.store, RUN) if step.kind == "tool_call"]
    return [(step.name, step.attempt, step.state, step.summary) for step in found]


OUTPUT = (
    line("started", session="s", model="m")
    + called(1, command="ls")
    + gave(1)
    + called(2, command=f"echo {SECRET} sesame-opens \x1b[2J")
    + gave(2, ok=False)
    + called(3, "fetch", url="https://evil.example")
    + gave(3, ok=False, denied=True, output="not allowed")
    + called(4, command="sleep 9")
)
TOLD = [
    ("shell", 1, "ok", "ls"),
    ("shell", 2, "failed", "echo ***REDACTED*** ***REDACTED*** [2J"),
    ("fetch", 1, "denied", "https://evil.example: not allowed"),
    ("shell", 3, "open", "sleep 9"),
]


async def test_tool_calls_are_steps_of_their_turn_without_secrets(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(OUTPUT)
    turn = recording.begin_turn(desk, "agent-0")
    reader = await read(desk, tmp_path / "out", turn)
    assert tools(desk) == TOLD
    recording.end_turn(desk, turn, reader.outcome(0, ""))
    [kept] = [step for step in steps.steps_of(desk.context.store, RUN) if step.kind == "agent_turn"]
    assert kept.parent_id == stage_step_id(RUN, "agent-0")
    assert kept.state == "failed" and kept.ended_at is not None


async def test_who_reads_the_same_output_again_writes_the_same_steps(
    desk: Desk, tmp_path: Path, clock: TurnedClock
) -> None:
    (tmp_path / "out").write_bytes(OUTPUT)
    turn = recording.begin_turn(desk, "agent-0")
    await read(desk, tmp_path / "out", turn)
    before = steps.steps_of(desk.context.store, RUN)
    clock.pass_seconds(100)
    (tmp_path / "out").write_bytes(OUTPUT + gave(4))
    await read(desk, tmp_path / "out", recording.last_turn(desk, "agent-0"))
    after = steps.steps_of(desk.context.store, RUN)
    assert [step.step_id for step in after] == [step.step_id for step in before]
    assert [step.started_at for step in after] == [step.started_at for step in before]
    assert tools(desk)[-1] == ("shell", 3, "ok", "sleep 9")


async def test_a_process_that_was_interrupted_is_a_turn_of_its_own(desk: Desk, tmp_path: Path) -> None:
    first = recording.begin_turn(desk, "agent-0")
    (tmp_path / "out").write_bytes(OUTPUT)
    await read(desk, tmp_path / "out", first)
    second = recording.begin_turn(desk, "agent-0")
    (tmp_path / "out").write_bytes(called(1, command="ls") + gave(1))
    await read(desk, tmp_path / "out", second)
    assert (first.attempt, second.attempt) == (1, 2)
    assert len(tools(desk)) == len(TOLD) + 1
    assert recording.last_turn(desk, "agent-0").step_id == second.step_id


async def test_steps_come_while_the_agent_works_and_lines_are_read_once(desk: Desk, tmp_path: Path) -> None:
    shown: list[object] = []
    desk = replace(desk, context=replace(desk.context, show=lambda _, event: shown.append(event)))
    over, path = asyncio.Event(), tmp_path / "out"
    following = asyncio.create_task(read(desk, path, recording.begin_turn(desk, "agent-0"), over))
    try:
        half = len(OUTPUT) // 2
        path.write_bytes(OUTPUT[:half])
        async with asyncio.timeout(10):
            while not tools(desk):
                await asyncio.sleep(0.05)
        with path.open("ab") as file:
            file.write(OUTPUT[half:] + b'{"type": "usage", "da')  # it dies in the middle of a line
    finally:
        over.set()
        reader = await following
    assert tools(desk) == TOLD
    assert len(shown) == len(OUTPUT.splitlines()) + 2  # the denial is two events, and the torn line is one
    assert reader.position == path.stat().st_size


async def test_an_output_of_any_length_is_read_to_its_end(desk: Desk, tmp_path: Path) -> None:
    long = b"x" * (PIECE_BYTES // 2)
    (tmp_path / "out").write_bytes(long + b"\n" + long + b"\n" + long + b"\n" + called(1, command="ls"))
    reader = await read(desk, tmp_path / "out", recording.begin_turn(desk, "agent-0"))
    assert reader.position == (tmp_path / "out").stat().st_size
    assert [told[0] for told in tools(desk)] == ["shell"]


def test_a_stage_says_how_it_ended_and_which_error_made_it_end(desk: Desk) -> None:
    with recording.recorded_stage(desk, "announce"):
        pass
    with pytest.raises(GitError), recording.recorded_stage(desk, "push"):
        raise GitError(f"no way with {SECRET}")
    with pytest.raises(RunEnd), recording.recorded_stage(desk, "verify-0"):
        try:
            raise OSError("disk full")
        except OSError as error:
            raise RunEnd(RunState.failed, f"the host: {error}", rule="host_trouble") from None
    with pytest.raises(ClaimLost), recording.recorded_stage(desk, "hand_over"):
        raise ClaimLost("somebody else has it")
    found = {step.name: step for step in steps.steps_of(desk.context.store, RUN)}
    told = {name: (step.state, step.exception_class, step.failure_mode, step.summary) for name, step in found.items()}
    assert told == {
        "announce": ("ok", "", "", ""),
        "push": ("failed", "GitError", "", "no way with ***REDACTED***"),
        "verify-0": ("failed", "OSError", "catalogued_unhandled", "the host: disk full"),
        "hand_over": ("open", "", "", ""),
    }


async def test_an_agents_own_spans_come_in_over_http(desk: Desk) -> None:
    import aiohttp

    from agentd.run.telemetry import TelemetryDoor
    from agentd.store.reported import reported_of
    from tests.trace.test_receiving import a_body, a_span

    desk = replace(desk, order=desk.order.model_copy(update={"profile": Profile(name="c", adapter="claude")}))
    door = TelemetryDoor(desk)
    async with door.opened(), aiohttp.ClientSession() as session:

        async def post(path: str, body: bytes) -> int:
            async with session.post(f"{door.endpoint}/v1/{path}", data=body) as answer:
                return answer.status

        assert await post("traces", a_body(a_span(), a_span("secret.plan"))) == 200
        assert await post("traces", b"nonsense") == 400
        assert await post("traces", b" " * (5 << 20)) == 413
        assert await post("logs", b"{}") == 200
        assert await post("anything", b"{}") == 404
    assert [span.name for span in reported_of(desk.context.store, RUN)] == ["claude_code.tool"]


async def test_a_store_that_is_away_for_a_while_takes_everything_later(
    desk: Desk, tmp_path: Path, store: Store, clock: TurnedClock
) -> None:
    (tmp_path / "out").write_bytes(OUTPUT)
    turn = recording.begin_turn(desk, "agent-0")
    over = asyncio.Event()
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE steps RENAME TO away")
    following = asyncio.create_task(read(desk, tmp_path / "out", turn, over))
    await asyncio.sleep(0.2)
    assert not following.done()
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO steps")
    over.set()
    await following
    assert tools(desk) == TOLD


async def test_lines_that_are_no_events_hide_nothing_of_what_follows(desk: Desk, tmp_path: Path) -> None:
    desk = of(desk, "claude")
    quiet = json.dumps({"type": "system", "subtype": "status", "x": "y" * 1000}).encode() + b"\n"
    (tmp_path / "out").write_bytes(quiet * (PIECE_BYTES // len(quiet) + 2) + SUCCESS)
    reader = await read(desk, tmp_path / "out", recording.begin_turn(desk, "agent-0"))
    assert reader.outcome(0, "").kind == "success"


SUCCESS = b'{"type":"result","subtype":"success","is_error":false,"result":"ok"}\n'


def of(desk: Desk, adapter: str) -> Desk:
    """The same desk for an agent of another kind."""
    return replace(desk, order=desk.order.model_copy(update={"profile": Profile(name="build", adapter=adapter)}))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


needs_postgres = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A desk on a store of each kind."""
    is_sqlite = request.param == "sqlite"
    url = "" if is_sqlite else postgres.database(request.getfixturevalue("address"), tmp_path.name)
    opened = open_store(url, tmp_path / "state", SystemClock())
    yield a_desk(opened, SystemClock(), tmp_path)
    opened.close()


HALF = b'{"type":"tool_call","data":{"id":"c1","name":"sh\\ud83dell","input":{"command":"grep \\ud83d \\u0000"}}}\n'


async def test_characters_that_cannot_be_stored_end_no_turn(either: Desk, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(HALF + line("tool_result", id="c1", ok=True, denied=False, output="\ud83d"))
    with (tmp_path / "out").open("ab") as file:
        file.write(line("final_report", summary="done \ud83d"))
    reader = await read(either, tmp_path / "out", recording.begin_turn(either, "agent-0"))
    assert reader.outcome(0, "").kind == "success"
    assert tools(either) == [("sh�ell", 1, "ok", "grep � �")]
    assert reader.dropped == 0


HUGE = b"9" * 30
NUMBERS = {
    "tries": b'{"type":"system","subtype":"api_retry","attempt":' + HUGE + b',"error_status":' + HUGE + b"}\n",
    "tokens": SUCCESS.replace(b"}", b',"usage":{"input_tokens":' + HUGE + b',"output_tokens":true}}'),
    "cost": SUCCESS.replace(b"}", b',"usage":{},"total_cost_usd":1' + HUGE * 20 + b"}"),
    "infinite cost": SUCCESS.replace(b"}", b',"usage":{},"total_cost_usd":Infinity}'),
}


@pytest.mark.parametrize("case", NUMBERS)
async def test_numbers_without_bounds_end_no_turn(either: Desk, tmp_path: Path, case: str) -> None:
    desk = of(either, "claude")
    (tmp_path / "out").write_bytes(NUMBERS[case] + SUCCESS)
    turn = recording.begin_turn(desk, "agent-0")
    reader = await read(desk, tmp_path / "out", turn)
    outcome = reader.outcome(0, "")
    recording.end_turn(desk, turn, outcome)
    assert outcome.kind == "success"
    assert reader.dropped == 0
    [kept] = [step for step in steps.steps_of(desk.context.store, RUN) if step.kind == "agent_turn"]
    assert (kept.state, kept.cost_usd) == ("ok", None)
    assert kept.input_tokens == (10**15 if case == "tokens" else 0)
    tries = [step.attempt for step in steps.steps_of(desk.context.store, RUN) if step.kind == "retry_attempt"]
    assert tries == ([2**31 - 1] * 2 if case == "tries" else [])


class Odd:
    """A parser whose every line is a call that no Step can be made of, but the last one."""

    def feed(self, line: bytes) -> list[AgentEvent]:
        name, given = cast(Any, ["no", "name"]), cast(Any, "no arguments")
        return [Final("done")] if line == b"last\n" else [ToolCall(line.decode(), name, "other", given)]

    def close(self, exit_status: int, stderr_tail: str) -> Outcome:
        return Outcome("success")


async def test_what_no_step_can_be_made_of_is_counted_and_ends_no_turn(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"one\ntwo\nlast\n")
    reader = Reader(desk, tmp_path / "out", recording.begin_turn(desk, "agent-0"), Odd())
    over = asyncio.Event()
    over.set()
    await reader.follow(over)
    assert reader.outcome(0, "").kind == "success"
    assert reader.dropped == 2
    recording.tell_dropped(desk, reader.dropped, reader.why_dropped)
    [event] = ledger.events_of(desk.context.store, RUN)
    assert (event.event_type, event.data["number"]) == ("record_dropped", 2)


def test_a_step_that_is_refused_takes_no_other_one_with_it(either: Desk) -> None:
    first = recording.begin_turn(either, "agent-0")
    good = first.model_copy(update={"step_id": "good"})
    bad = first.model_copy(update={"step_id": "bad", "input_tokens": 2**70})
    [why] = recording.keep(either.context.telemetry, [bad, good])
    assert "the store does not take a value" in why
    assert {step.step_id for step in steps.steps_of(either.context.store, RUN)} == {first.step_id, "good"}
