"""Programs that do not want to end, or want too much: each ends with its reason, and nothing of it is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentd.sandbox.hold import Held, hold
from agentd.sandbox.launch import SandboxFailed
from agentd.sandbox.limits import Limits, Sample, disk_usage, exceeded
from agentd.sandbox.profile import Mount, SandboxSpec
from tests.sandbox.world import PYTHON, python_mounts

MB = 1024 * 1024
MARK = "86421.5"
"""How long the attacks' processes sleep, by which they are found."""

FILLER = "while i=$((i+1)); do head -c 9000000 /dev/zero > f$i; done"

ATTACKS = [
    ("ignores TERM", f"trap '' TERM HUP INT; sleep {MARK}", Limits(wall_seconds=0.6), "wall"),
    ("new session", f"setsid sleep {MARK} & sleep {MARK}", Limits(wall_seconds=0.6), "wall"),
    ("double fork", f"(setsid sleep {MARK} &) & sleep {MARK}", Limits(wall_seconds=0.6), "wall"),
    (
        "comes again",
        f"again() {{ (sleep 0.02; again) & }}; again; sleep {MARK}",
        Limits(wall_seconds=0.8),
        "wall",
    ),
    ("says nothing", f"echo one; sleep {MARK}", Limits(silence_seconds=0.5), "silence"),
    ("burns", "while :; do :; done", Limits(cpu_seconds=0.5), "cpu"),
    ("eats memory", f"{PYTHON} -c 'b = bytearray(600 << 20); input()'", Limits(memory_bytes=150 * MB), "memory"),
    (
        "eats memory in children",
        f"for i in 1 2 3 4; do {PYTHON} -c 'import time; b = bytearray(60 << 20); time.sleep(99)' & done; sleep {MARK}",
        Limits(memory_bytes=150 * MB),
        "memory",
    ),
    (
        "fills the disk",
        FILLER,
        Limits(disk_bytes=100 * MB),
        "disk",
    ),
    ("floods", "yes", Limits(output_bytes=MB, output_end_bytes=1024 * MB), "output"),
]


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


def held(spec: SandboxSpec, script: str, limits: Limits, grace_seconds: float = 0.0) -> tuple[Held, bytes]:
    kept: list[bytes] = []
    result = hold(spec, ["bash", "-c", script], limits, kept.append, grace_seconds=grace_seconds)
    return result, b"".join(kept)


@pytest.mark.parametrize(("name", "script", "limits", "reason"), ATTACKS, ids=[attack[0] for attack in ATTACKS])
def test_a_run_over_a_limit_ends_with_its_reason_and_nothing_is_left(
    spec: SandboxSpec, name: str, script: str, limits: Limits, reason: str
) -> None:
    result, output = held(spec, script, limits)
    assert result.ended == "limit" and result.reason.startswith(f"{reason}: ")
    assert result.end_seconds <= 1.0
    assert survivors() == []
    assert len(output) <= limits.output_bytes


def test_a_fork_bomb_is_ended_or_kept_small(spec: SandboxSpec) -> None:
    result, _ = held(spec, "b() { b | b & }; b; sleep 5", Limits(processes=64, wall_seconds=1.5))
    assert result.ended == "limit" and result.end_seconds <= 1.0
    if os.getuid() == 0:
        assert result.reason.startswith("processes: "), "the kernel keeps no count for root"
    else:
        assert result.sample.processes <= 64


def test_a_grace_lets_the_agent_say_goodbye(spec: SandboxSpec) -> None:
    script = "trap 'echo goodbye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    result, output = held(spec, script, Limits(wall_seconds=0.6), grace_seconds=2.0)
    assert result.ended == "limit" and output == b"up\ngoodbye\n"
    assert result.end_seconds < 1.5


def test_a_program_that_ends_by_itself_keeps_its_status_and_leaves_nothing(spec: SandboxSpec) -> None:
    result, output = held(spec, f"setsid sleep {MARK} & echo done; exit 3", Limits())
    assert (result.ended, result.exit_status, output) == ("exited", 3, b"done\n")
    assert survivors() == []


def test_it_stops_when_told(spec: SandboxSpec) -> None:
    result = hold(spec, ["sleep", MARK], Limits(), lambda data: None, stopped=lambda: True)
    assert result.ended == "stopped" and survivors() == []


def test_a_sandbox_that_cannot_be_made_is_an_error_and_no_exit_status(spec: SandboxSpec, tmp_path: Path) -> None:
    broken = SandboxSpec(spec.workspace, mounts=(Mount(tmp_path / "nothing", "/opt/x"),))
    with pytest.raises(SandboxFailed, match="Can't find source path"):
        hold(broken, ["true"], Limits(), lambda data: None)


def test_open_files_and_the_size_of_a_file_are_limited_by_the_kernel(spec: SandboxSpec) -> None:
    script = "ulimit -n; head -c 3000000 /dev/zero > big; stat -c %s big; ulimit -n 9999 || echo kept"
    _, output = held(spec, script, Limits(open_files=77, file_bytes=2 * MB))
    assert output.split()[0] == b"77" and b"2097152" in output and b"kept" in output


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample(), None),
        (Sample(wall_seconds=3600), None),
        (Sample(wall_seconds=3601), "wall: 3601 seconds, limit 3600"),
        (Sample(processes=513, wall_seconds=9999), "processes: 513 processes, limit 512"),
        (Sample(silent_seconds=99999), None),
    ],
)
def test_a_limit_is_passed_only_above_it(sample: Sample, expected: str | None) -> None:
    assert exceeded(sample, Limits()) == expected


def test_the_disk_is_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= disk_usage([tmp_path]) < 200_000
