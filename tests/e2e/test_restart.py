"""A killed, stopped or drained supervisor: the run ends well afterwards, and no work is lost."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from agentd.run.process import RUN_VARIABLE
from tests.e2e.conftest import Installation, written

SLOW_AGENT = """
import os, pathlib, sys, time
sys.stdin.read()
count = pathlib.Path("starts.txt")
count.write_text(count.read_text() + "again\\n" if count.exists() else "first\\n")
if "again" not in count.read_text():
    pathlib.Path("half.txt").write_text("uncommitted work")
    time.sleep(60)
pathlib.Path("done.txt").write_text("done")
"""


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"still not so after {seconds} s"
        time.sleep(0.1)


def agents(folder: Path) -> list[int]:
    """Living processes of any run of this installation, or of those in folders of it."""
    homes = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    marks = [
        f"{RUN_VARIABLE}={run.name}".encode()
        for home in homes
        for name in (".agentd/state", "state")
        for run in (home / name / "runs").glob("*")
    ]
    found = []
    for process in psutil.process_iter():
        try:
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if any(mark in environ for mark in marks):
                found.append(process.pid)
        except (OSError, psutil.Error):
            continue
    return found


def supervisor(here: Installation) -> int:
    return int((here.folder / ".agentd" / "state" / "supervisor.pid").read_text().split()[0])


def started(here: Installation) -> None:
    here.agent(SLOW_AGENT)
    here.configure("poll_interval_seconds = 1\n")
    here.issue()
    here.run("start")
    wait_for(lambda: written(here.folder, "worktrees/alice/widget/*", "half.txt"))


def in_review(here: Installation) -> None:
    wait_for(lambda: here.status()["counts"] == {"in_review": 1}, 60)
    [pull] = here.pulls()
    files = {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")}
    assert files == {"done.txt", "half.txt", "starts.txt"}, "the work from before was lost"
    assert len(here.stickies(1)) == 1


def test_a_killed_supervisor_goes_on_after_a_start_and_the_work_is_kept(here: Installation) -> None:
    started(here)
    pid = supervisor(here)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not agents(here.folder), 15)
    assert "Supervisor: stopped" in here.run("status")
    here.run("start")
    try:
        in_review(here)
    finally:
        here.run("stop")
    [run] = here.status()["recent"]
    assert run["generation"] == 2
    assert run["attempt"] == 1


def test_stop_now_ends_the_agents_at_once_and_a_start_goes_on(here: Installation) -> None:
    started(here)
    began = time.monotonic()
    here.run("stop", "--now")
    assert agents(here.folder) == []
    assert time.monotonic() - began < 30, "an agent sleeps for longer"
    here.run("start")
    try:
        in_review(here)
    finally:
        here.run("stop")


def test_a_drain_lets_the_run_end_and_starts_nothing_more(here: Installation) -> None:
    here.agent("import sys, time; sys.stdin.read(); time.sleep(2); open('done.txt', 'w').write('x')")
    here.configure("poll_interval_seconds = 1\nmax_parallel = 1\n")
    here.issue("first")
    here.issue("second")
    here.run("start")
    wait_for(lambda: agents(here.folder))
    here.run("stop")
    assert agents(here.folder) == []
    assert here.status()["counts"] == {"in_review": 1}
    assert not here.status()["supervisor"]["running"]


def test_everybody_says_that_a_supervisor_drains_and_to_stop_it_again_ends_nothing(here: Installation) -> None:
    over = here.folder / "over"
    here.environ["AGENTD_SANDBOX"] = "none"  # so that the agent sees a file of the host
    here.agent(f"import os, time\nwhile not os.path.exists({str(over)!r}): time.sleep(0.1)\nopen('done.txt', 'w')")
    here.configure("poll_interval_seconds = 1\nmax_parallel = 2\n")
    here.issue("first")
    here.run("start")
    try:
        pid = supervisor(here)
        wait_for(lambda: agents(here.folder))
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: here.status()["supervisor"]["drains"])
        waiting = here.issue("second")
        assert f"Supervisor: drains (process {pid}), ends after its runs" in here.run("status")
        assert "it was told to stop" in here.run("workers", "list")
        found = json.loads(here.run("why", str(waiting), "--json"))
        assert "it starts nothing more [draining]" in here.run("why", str(waiting))
        assert "the next tick" not in {timer["what"] for timer in found["timers"]}
        [finding] = [
            row for row in here.doctor(check=None) if row["code"].startswith("supervisor.") and row["level"] != "ok"
        ]
        assert (finding["code"], finding["remediation"]) == ("supervisor.running", "agentd stop && agentd start")
        for command in ("start", "once"):
            assert "which drains: it starts nothing more" in here.run(command, check=1)
        again = subprocess.Popen([sys.executable, "-m", "agentd", "stop"], cwd=here.folder, env=here.environ)
        time.sleep(3)
        over.touch()
        assert again.wait(60) == 0
    finally:
        here.run("stop", "--now")
    assert here.status()["counts"] == {"in_review": 1}, "a second stop interrupted the run"


def test_a_terminal_that_is_closed_drains(here: Installation) -> None:
    over = here.folder / "over"
    here.environ["AGENTD_SANDBOX"] = "none"  # so that the agent sees a file of the host
    here.agent(f"import os, time\nwhile not os.path.exists({str(over)!r}): time.sleep(0.1)\nopen('done.txt', 'w')")
    here.configure("poll_interval_seconds = 1\n")
    here.issue()
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
        os.chdir(here.folder)
        os.execve(sys.executable, [sys.executable, "-m", "agentd", "start", "--foreground"], here.environ)
    try:
        wait_for(lambda: agents(here.folder))
        os.close(terminal)
        wait_for(lambda: here.status()["supervisor"]["drains"])
        over.touch()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        here.run("stop", "--now")
    assert here.status()["counts"] == {"in_review": 1}


def test_only_one_supervisor_works_on_a_state_directory(here: Installation) -> None:
    here.configure("poll_interval_seconds = 1\n")
    here.run("start")
    try:
        assert "is running already" in here.run("once", check=1)
        assert "running already" in here.run("start")
    finally:
        here.run("stop")


def test_a_pid_file_of_another_process_is_not_believed(here: Installation) -> None:
    state = here.folder / ".agentd" / "state"
    state.mkdir(parents=True)
    (state / "supervisor.pid").write_text(f"{os.getpid()} 12345.000\n")
    assert "Supervisor: stopped" in here.run("status")
    assert "not running" in here.run("stop")


def test_a_run_of_a_program_with_other_stages_begins_anew_and_costs_no_attempt(here: Installation) -> None:
    here.agent(SLOW_AGENT)
    here.configure("poll_interval_seconds = 1\n")
    number = here.issue()
    older = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.older", "start", "--foreground"],
        cwd=here.folder,
        env=here.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: written(here.folder, "worktrees/alice/widget/*", "half.txt"))
    older.kill()
    older.wait()
    wait_for(lambda: not agents(here.folder), 15)
    here.agent("open('done.txt', 'w').write('done')")
    found = here.once(check=None)
    while found["runs"] == [] or found["runs"][0]["state"] != "in_review":
        found = here.once(check=None)
    states = [run["state"] for run in json.loads(here.run("runs", "list", "--json"))]
    assert states == ["in_review", "failed_retry"]
    assert here.labels(number) == {"agent-ready", "status:in-review"}
    with sqlite3.connect(f"file:{here.folder}/.agentd/state/agentd.db?mode=ro", uri=True) as store:
        [(charged,)] = store.execute("SELECT count(*) FROM attempts WHERE cleared = 0")
    assert charged == 1


def test_a_run_that_takes_too_long_in_all_is_halted(here: Installation) -> None:
    here.agent(SLOW_AGENT)
    here.configure("max_run_minutes = 0.05\n")
    here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "halted"
    assert "max_run_minutes" in run["reason"]
    assert agents(here.folder) == []
