"""Programs that do not want to end, or want too much: each ends with its reason, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from agentd.run.process import Ended, Program, guard, tree_is_gone
from agentd.sandbox.launch import prepared
from agentd.sandbox.limits import Limits, kernel_limits
from agentd.sandbox.pids import pids_group
from agentd.sandbox.profile import Mount, SandboxSpec
from agentd.sandbox.sampling import exceeded
from tests.sandbox.world import PYTHON, python_mounts

MB = 1024 * 1024
MARK = f"86421.{os.getpid()}"
"""How long the attacks' processes sleep, by which they are found; tests run side by side."""

SOON = 8.0
"""Seconds, on a machine that has much else to do. `scripts/bench` measures how soon."""

FILLER = "while i=$((i+1)); do head -c 9000000 /dev/zero > f$i; done"

ATTACKS = [
    ("burns", "while :; do :; done", Limits(cpu_seconds=0.5), "cpu"),
    ("eats memory", f"{PYTHON} -c 'b = bytearray(600 << 20); input()'", Limits(memory_bytes=150 * MB), "memory"),
    (
        "eats memory in children",
        f"for i in 1 2 3 4; do {PYTHON} -c 'import time; b = bytearray(60 << 20); time.sleep(99)' & done; sleep {MARK}",
        Limits(memory_bytes=150 * MB),
        "memory",
    ),
    ("fills the disk", FILLER, Limits(disk_bytes=100 * MB), "disk"),
    ("floods", "yes", Limits(output_bytes=1024 * MB), "output"),
]
STUBBORN = {
    "ignores TERM": f"trap '' TERM HUP INT; sleep {MARK}",
    "new session": f"setsid sleep {MARK} & sleep {MARK}",
    "double fork": f"(setsid sleep {MARK} &) & sleep {MARK}",
    "comes again": f"again() {{ (sleep 0.02; again) & }}; again; sleep {MARK}",
}


def survivors() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if MARK.encode() in command:
            found.append(command.decode())
    return found


@pytest.fixture
def spec(tmp_path: Path) -> SandboxSpec:
    (tmp_path / "workspace").mkdir()
    return SandboxSpec(tmp_path / "workspace", mounts=python_mounts())


async def held(
    spec: SandboxSpec,
    script: str,
    limits: Limits,
    *,
    wall: float = 120.0,
    silence: float = 0.0,
    grace: float = 0.0,
    stopped: bool = False,
    secrets: tuple[str, ...] = (),
) -> tuple[Ended, bytes]:
    """How a script in the sandbox ended, and what was kept of its output."""
    run_dir = spec.workspace.parent / f"run-{time.monotonic_ns()}"
    run_dir.mkdir()
    made = prepared(spec, run_dir)
    program = Program(
        "agent-0",
        (*made.argv, *kernel_limits(limits), "bash", "-c", script),
        made.env,
        Path("/"),
        wall,
        MB,
        grace_seconds=grace,
        startup_seconds=silence,
        silence_seconds=silence,
        inputs=made.inputs,
        limits=limits.sampled(),
        folders=(spec.workspace,),
        secrets=secrets,
    )
    lease = time.clock_gettime(time.CLOCK_BOOTTIME) + 100
    ended = await guard(program, run_dir, run_dir / "log", lambda: lease, lambda: 0.1 if stopped else None)
    assert tree_is_gone(run_dir) and survivors() == []
    return ended, (run_dir / "log").read_bytes()


@pytest.mark.parametrize(("name", "script", "limits", "reason"), ATTACKS, ids=[attack[0] for attack in ATTACKS])
async def test_a_run_over_a_limit_ends_with_its_reason_and_nothing_is_left(
    spec: SandboxSpec, name: str, script: str, limits: Limits, reason: str
) -> None:
    ended, output = await held(spec, script, limits)
    assert ended.ended == "limit" and ended.message.startswith(f"{reason}: ")
    assert ended.end_seconds < SOON and len(output) <= MB


@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN)
async def test_what_does_not_want_to_end_is_gone_soon(spec: SandboxSpec, script: str) -> None:
    ended, _ = await held(spec, script, Limits(), wall=0.6)
    assert ended.ended == "timeout" and ended.end_seconds < SOON


async def test_silence_ends_it(spec: SandboxSpec) -> None:
    assert (await held(spec, f"echo one; sleep {MARK}", Limits(), silence=0.5))[0].ended == "silent"


async def test_a_fork_bomb_is_ended_or_kept_small_while_the_host_answers(spec: SandboxSpec) -> None:
    late = [0.0]

    async def answer() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - began)

    group = pids_group(64)
    if group is not None:
        group.remove()
    counted = os.geteuid() != 0 or group is not None
    answering = asyncio.create_task(answer())
    ended, _ = await held(spec, "b() { b | b & }; b; sleep 5", Limits(processes=64), wall=1.5)
    answering.cancel()
    assert ended.end_seconds < SOON and max(late) < SOON
    if counted:
        assert ended.ended in {"timeout", "exited"}, "the kernel lets no more of them start"
    else:
        assert ended.message.startswith("processes: ")


async def test_a_grace_lets_the_agent_say_goodbye(spec: SandboxSpec) -> None:
    script = "trap 'echo goodbye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    ended, output = await held(spec, script, Limits(), wall=0.6, grace=2.0)
    assert ended.ended == "timeout" and ended.end_seconds < SOON
    assert output.startswith(b"up\n") and b"goodbye\n" in output


async def test_a_program_that_ends_by_itself_keeps_its_status_and_leaves_nothing(spec: SandboxSpec) -> None:
    ended, output = await held(spec, f"setsid sleep {MARK} & echo done; exit 3", Limits())
    assert (ended.ended, ended.exit_status, output) == ("exited", 3, b"done\n")


async def test_it_stops_when_told(spec: SandboxSpec) -> None:
    assert (await held(spec, f"sleep {MARK}", Limits(), stopped=True))[0].ended == "stopped"


async def test_a_sandbox_that_cannot_be_made_is_no_exit_status_of_the_program(
    spec: SandboxSpec, tmp_path: Path
) -> None:
    broken = SandboxSpec(spec.workspace, mounts=(Mount(tmp_path / "nothing", "/opt/x"),))
    ended, _ = await held(broken, "true", Limits())
    assert ended.ended == "not_started" and "Can't find source path" in ended.message


async def test_open_files_and_the_size_of_a_file_are_limited_by_the_kernel(spec: SandboxSpec) -> None:
    script = "ulimit -n; head -c 3000000 /dev/zero > big; stat -c %s big; ulimit -n 9999 || echo kept"
    _, output = await held(spec, script, Limits(open_files=77, file_bytes=2 * MB))
    assert output.split()[0] == b"77" and b"2097152" in output and b"kept" in output


async def test_secrets_are_taken_out_of_what_is_kept(spec: SandboxSpec) -> None:
    script = "printf 'it is canary-'; sleep 0.3; echo 7c1f; echo canary-7c1f >&2; echo end"
    _, output = await held(spec, script, Limits(), secrets=("canary-7c1f",))
    assert b"7c1f" not in output and output.count(b"***REDACTED***") == 2 and b"end" in output


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ({}, ""),
        ({"processes": 1024}, ""),
        ({"processes": 1025, "memory": 1e12}, "processes: 1025 processes, limit 1024"),
        ({"cpu": 99999, "output": 1e12}, ""),
    ],
)
def test_a_limit_is_passed_only_above_it(used: dict[str, float], expected: str) -> None:
    assert exceeded(used, Limits().sampled()) == expected
