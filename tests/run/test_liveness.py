"""An agent that shows no sign of life is ended; output, and a change in its files, are signs."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from agentd.run.process import Ended, Program, guard
from agentd.run.progress import Watch
from tests.run.test_process import boottime, survivors


async def run(folder: Path, script: str, startup: float = 0, silence: float = 0, watched: bool = True) -> Ended:
    run_dir, work = folder / f"run-{os.getpid()}-{time.monotonic_ns()}", folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    program = Program(
        "agent-0",
        ("bash", "-c", script),
        {"PATH": os.environ["PATH"]},
        work,
        limit_seconds=4,
        max_output_bytes=100,
        grace_seconds=0.2,
        startup_seconds=startup,
        silence_seconds=silence,
        watched=(work,) if watched else (),
    )
    end = boottime() + 100
    ended = await guard(program, run_dir, run_dir / "log", lambda: end, lambda: None)
    assert survivors(run_dir) == []
    return ended


async def test_no_sign_of_life_after_the_start(tmp_path: Path) -> None:
    ended = await run(tmp_path, "trap '' TERM; sleep 60", startup=0.5)
    assert ended.ended == "lifeless"
    assert 0.5 <= ended.seconds < 10


@pytest.mark.parametrize("sign", ["echo up", "echo up >&2"])
async def test_silence_after_a_sign_of_life(tmp_path: Path, sign: str) -> None:
    ended = await run(tmp_path, f"{sign}; sleep 60", startup=60, silence=0.6)
    assert ended.ended == "silent"
    assert 0.6 <= ended.seconds < 10


SIGNS = {
    "output": "echo on",
    "errors": "echo on >&2",
    "output beyond what is kept": "head -c 1000 /dev/zero",
    "a new file": "mktemp -p . >/dev/null",
    "a changed file": "echo x >>file",
    "a file changed with its time put back": "echo $i >>file; touch -d 2020-01-01 file",
    "a file far below": "mkdir -p a/b/c; echo $i >a/b/c/d",
    "a file removed and made again": "if test -e gone; then rm gone; else touch gone; fi",
}


async def ends(folder: Path, signs: dict[str, str], watched: bool = True) -> dict[str, str]:
    """How programs end that give their sign every 0.3 s, for longer than either limit allows."""
    ended = await asyncio.gather(
        *(
            run(folder / str(number), f"for i in 1 2 3 4 5 6 7 8; do sleep 0.3; {sign}; done", 1.2, 1.2, watched)
            for number, sign in enumerate(signs.values())
        )
    )
    return dict(zip(signs, (end.ended for end in ended), strict=True))


async def test_each_sign_of_life_counts(tmp_path: Path) -> None:
    assert await ends(tmp_path, SIGNS) == dict.fromkeys(SIGNS, "exited")


async def test_files_are_no_sign_where_nobody_watches(tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    files = {name: sign for name, sign in SIGNS.items() if "file" in name}
    assert await ends(tmp_path, files, watched=False) == dict.fromkeys(files, "lifeless")


async def test_what_is_no_sign_of_life(tmp_path: Path) -> None:
    busy = {
        "processor time": "x=$(head -c 100000 /dev/urandom | sha256sum)",
        "reading": "cat ./* ../* >/dev/null 2>&1",
        "a file elsewhere": "touch ../outside",
    }
    assert await ends(tmp_path, busy) == dict.fromkeys(busy, "lifeless")


async def test_without_limits_a_program_may_be_silent(tmp_path: Path) -> None:
    assert (await run(tmp_path, "sleep 1.5")).ended == "exited"


async def test_a_limit_that_is_off_leaves_the_other(tmp_path: Path) -> None:
    assert (await run(tmp_path, "sleep 1.5; echo up; sleep 60", silence=0.5)).ended == "silent"
    assert (await run(tmp_path, "echo up; sleep 1.5", startup=0.5)).ended == "exited"


def test_a_watch_never_leaves_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "round").symlink_to(inside)
    time.sleep(0.1)
    watch = Watch((inside,))
    assert [watch.changed(), watch.changed()] == [False, False]
    (outside / "file").write_text("x")
    assert not watch.changed()
    (inside / "real" / "file").write_text("x")
    assert [watch.changed(), watch.changed()] == [True, False]
    (inside / "link").unlink()
    assert watch.changed()


def test_a_watch_bears_whatever_a_program_makes(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder = folder / "deep"
        folder.mkdir()
    os.mkfifo(tmp_path / "pipe")
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0)
    watch = Watch((tmp_path, tmp_path / "none"))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert [watch.changed() for _ in range(3)][1:] == [False, False]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    shut.chmod(0o700)


async def test_a_suspended_machine_costs_the_lease_and_is_no_fault_of_the_program(tmp_path: Path) -> None:
    """All limits have passed when the guardian wakes up again."""
    program = Program("agent-0", ("sleep", "60"), {"PATH": os.environ["PATH"]}, tmp_path, 1.5, 100, grace_seconds=0.2)
    end = boottime() + 2
    run_dir = tmp_path / "run-z"
    guarded = asyncio.create_task(guard(program, run_dir, run_dir / "log", lambda: end, lambda: None))
    await asyncio.sleep(0.5)
    [guardian] = psutil.Process().children()
    guardian.suspend()
    await asyncio.sleep(2)
    guardian.resume()
    assert (await guarded).ended == "lease_lost"
