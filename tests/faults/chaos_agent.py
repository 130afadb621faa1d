"""The agent of the chaos run, with the standard library alone: works, and leaves a record that agentd knows nothing of.

`python chaos_agent.py FOLDER`: in FOLDER are plan.json (what is to be done for each task), locks/ and record.jsonl, to
which every agent appends. The lock of the task is held to the end of the last process, so that two agents of one task
are noticed whatever agentd believes.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FEEDBACK = "## Your work so far did not pass"
SLICE_SECONDS = 0.1


def boot_seconds() -> float:
    """Seconds since boot, counting suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def born() -> int:
    """Start time of this process in ticks since boot, which tells it from a later one with the same number."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def main() -> int:
    folder = Path(sys.argv[1])
    prompt = sys.stdin.read()
    task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
    order = json.loads((folder / "plan.json").read_text())[task]
    turn = 1 if FEEDBACK in prompt else 0
    me = {"task": task, "run": os.environ["AGENTD_RUN_ID"], "turn": turn, "pid": os.getpid(), "born": born()}

    def note(what: str, **more: Any) -> None:
        line = {"what": what, **me, "boot": boot_seconds(), "at": time.time(), **more}
        record = os.open(folder / "record.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(record, json.dumps(line).encode() + b"\n")
        os.close(record)

    lock = os.open(folder / "locks" / task, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("OVERLAP")
    note("start", cwd=str(Path.cwd()))
    helper = subprocess.Popen(["sleep", "60"], close_fds=False)
    for number in range(max(1, round(order["seconds"] / SLICE_SECONDS))):
        Path(f"progress-{task}.txt").write_text(f"{number}\n")
        time.sleep(SLICE_SECONDS)
    helper.kill()
    helper.wait()
    status = finish(folder, task, order["kind"], turn)
    note("end", status=status)
    return status


def finish(folder: Path, task: str, kind: str, turn: int) -> int:
    """The work's last part, and the exit status that it deserves."""
    failed = folder / "failed" / task
    if kind == "fails_once" and not failed.exists():
        failed.touch()
        return 1
    Path(f"progress-{task}.txt").unlink()
    if kind == "blocked" or (kind == "fixes" and turn == 0):
        Path(f"draft-{task}.txt").write_text(task)
    else:
        Path(f"work-{task}.txt").write_text(task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
