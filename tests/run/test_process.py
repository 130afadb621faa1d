"""The guardian: limits, leases, dead workers; in the end nothing of the program's tree is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from agentd.run.process import RUN_VARIABLE, Ended, Program, guard, output_of, result_of, tree_is_gone

IGNORE = "trap '' TERM HUP INT"
SLEEP = "while :; do sleep 0.05; done"


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def survivors(run_dir: Path) -> list[int]:
    """Living processes that carry the run's mark."""
    mark = f"{RUN_VARIABLE}={run_dir.name}".encode()
    found = []
    for process in psutil.process_iter():
        try:
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") and process.status() != "zombie":
                found.append(process.pid)
        except (OSError, psutil.Error):
            continue
    return found


async def run(folder: Path, script: str, **options: float) -> Ended:
    run_dir = folder / f"run-{os.getpid()}-{time.monotonic_ns()}"
    lease_end = boottime() + options.get("lease", 100)
    stop_at = boottime() + options.get("stop_after", 1000)
    program = Program(
        "agent-0",
        ("bash", "-c", script),
        {"PATH": os.environ["PATH"]},
        folder,
        options.get("limit", 20),
        int(options.get("most", 1 << 20)),
        stdin=b"the prompt",
        grace_seconds=0.2,
    )
    ended = await guard(
        program, run_dir, run_dir / "log", lambda: lease_end, lambda: 0.1 if boottime() > stop_at else None
    )
    assert survivors(run_dir) == []
    assert tree_is_gone(run_dir)
    return ended


async def test_output_exit_status_and_prompt(tmp_path: Path) -> None:
    ended = await run(tmp_path, "cat; echo; echo on stderr >&2; exit 3")
    assert (ended.ended, ended.exit_status) == ("exited", 3)
    [run_dir] = [path for path in tmp_path.iterdir() if path.name.startswith("run-")]
    assert output_of(run_dir, "agent-0").read_text() == "the prompt\n"
    assert "on stderr" in (run_dir / "log").read_text()
    assert result_of(run_dir, "agent-0") == ended


@pytest.mark.parametrize(
    "script",
    [
        f"{IGNORE}; {SLEEP}",
        f'setsid bash -c "{IGNORE}; {SLEEP}" & {IGNORE}; {SLEEP}',
        f"(setsid bash -c '(setsid bash -c \"{IGNORE.replace(chr(39), '')} ; sleep 100\" &)' &); {SLEEP}",
        "f() { (sleep 0.02; f) & }; f; f; sleep 100",
    ],
    ids=["ignores TERM", "own session", "double fork", "respawns"],
)
async def test_the_wall_clock_ends_the_whole_tree(tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    ended = await run(tmp_path, script, limit=0.5)
    assert ended.ended == "timeout"
    assert time.monotonic() - began < 20


async def test_what_outlives_a_good_end_is_ended_too(tmp_path: Path) -> None:
    ended = await run(tmp_path, "(setsid sleep 100 &) ; echo done")
    assert (ended.ended, ended.exit_status) == ("exited", 0)


async def test_a_lost_lease_ends_the_program_before_anybody_else_may_begin(tmp_path: Path) -> None:
    ended = await run(tmp_path, f"{IGNORE}; {SLEEP}", lease=0.6)
    assert ended.ended == "lease_lost"
    assert ended.seconds < 10


async def test_a_stop_is_obeyed(tmp_path: Path) -> None:
    assert (await run(tmp_path, SLEEP, stop_after=0.2)).ended == "stopped"


async def test_too_much_output_is_read_and_dropped(tmp_path: Path) -> None:
    ended = await run(tmp_path, "head -c 50000000 /dev/zero | tr '\\0' x; echo end", most=1_000_000)
    assert (ended.ended, ended.exit_status) == ("exited", 0)
    assert (ended.output_bytes, ended.dropped_bytes) == (1_000_000, 49_000_004)


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-x"
    program = Program("agent-0", ("/no/such/program",), {}, tmp_path, 5, 1000)
    ended = await guard(program, run_dir, run_dir / "log", lambda: boottime() + 9, lambda: None)
    assert ended.ended == "not_started"
    assert "/no/such/program" in ended.message


async def test_a_cancelled_waiter_leaves_nothing_behind(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-y"
    program = Program("agent-0", ("sleep", "100"), {"PATH": os.environ["PATH"]}, tmp_path, 50, 1000)
    task = asyncio.create_task(guard(program, run_dir, run_dir / "log", lambda: boottime() + 99, lambda: None))
    await asyncio.sleep(0.4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert survivors(run_dir) == []


WORKER = """
import asyncio, os, sys, time
from pathlib import Path
from agentd.run.process import Program, guard
folder = Path(sys.argv[1])
program = Program("agent-0", ("bash", "-c", sys.argv[2]), {"PATH": os.environ["PATH"]}, folder, 60, 1000)
boottime = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
asyncio.run(guard(program, folder / f"run-{folder.name}", folder / "log", lambda: boottime() + 60, lambda: None))
"""


def test_a_killed_worker_takes_the_program_with_it(tmp_path: Path) -> None:
    script = f'setsid bash -c "{IGNORE}; {SLEEP}" & echo up; {IGNORE}; {SLEEP}'
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), script])
    run_dir = tmp_path / f"run-{tmp_path.name}"
    until = time.monotonic() + 10
    while time.monotonic() < until and not ((tmp_path / "log").exists() and "up" in (tmp_path / "log").read_text()):
        time.sleep(0.02)
    assert not tree_is_gone(run_dir)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    until = time.monotonic() + 3
    while time.monotonic() < until and not tree_is_gone(run_dir):
        time.sleep(0.02)
    assert survivors(run_dir) == []
    ended = result_of(run_dir, "agent-0")
    assert ended is not None
    assert ended.ended == "orphaned"
