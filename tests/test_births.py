"""A living process is known as the one that it was, also after somebody has set the wall clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from agentd.births import birth_of
from agentd.gateway.writer import gateway_id
from agentd.run.executor import executor_id
from agentd.sandbox.launch import find_bwrap
from agentd.supervisor.process import only_one, running

LOOK = """
import json, sys
from pathlib import Path
from agentd.gateway.writer import is_gone
from agentd.run.executor import executor_is_dead, place_of
from agentd.supervisor.process import running
state, executor, gateway = sys.argv[1:]
found = running(Path(state))
print(json.dumps([found and found.pid, executor_is_dead(executor, place_of(executor)), is_gone(gateway)]))
"""
"""What another agentd on this host thinks of the supervisor, of the executor and of the gateway."""


def test_a_living_process_is_not_dead_after_the_wall_clock_was_set(tmp_path: Path) -> None:
    state, told = tmp_path / "state", tmp_path / "stat"
    # The kernel tells the boot by the wall clock: set on by an hour, the boot was an hour later (proc_stat(5)).
    lines = Path("/proc/stat").read_text().splitlines()
    moved = [f"btime {int(line.split()[1]) + 3600}" if line.startswith("btime ") else line for line in lines]
    told.write_text("\n".join(moved) + "\n")
    with only_one(state):
        look = [sys.executable, "-c", LOOK, str(state), executor_id(state), gateway_id()]
        done = subprocess.run(
            [find_bwrap(), "--dev-bind", "/", "/", "--bind", str(told), "/proc/stat", *look],
            stdout=subprocess.PIPE,
            check=True,
        )
    assert json.loads(done.stdout) == [os.getpid(), False, False]


def test_an_ended_process_has_no_birth_before_its_parent_has_asked_for_its_status() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert birth_of(child.pid) == ""
    child.wait()
    assert birth_of(child.pid) == ""


def test_the_number_of_another_process_is_no_supervisor(tmp_path: Path) -> None:
    with only_one(tmp_path):
        (tmp_path / "supervisor.pid").write_text(f"1 {birth_of(os.getpid())}\n")
        assert running(tmp_path) is None
