"""Runs inside the sandbox: each line by bash and dash, each time in a fresh folder. Prints what ran a canary."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

SHELLS = {"bash": "/usr/bin/bash", "dash": "/usr/bin/dash"}
RAN = Path("/tmp/ran")
# `[[` is no program that dash would find anywhere.
NOT_FOUND = re.compile(r": (?!\[\[: )([^:\n]{1,60}): (?:command )?not found")


def run(argv: list[str], here: Path, env: dict[str, str]) -> bytes:
    """What it said on standard error, for half a second at most; nothing of it is left."""
    with subprocess.Popen(
        argv,
        cwd=here,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stderr = process.communicate(timeout=0.5)[1]
        except subprocess.TimeoutExpired:
            stderr = b""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return stderr


def main() -> None:
    lines = json.loads(Path("/workspace/lines.json").read_text())
    found = []
    for line in lines:
        for shell, program in SHELLS.items():
            here = Path("/tmp/here")
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir()
            for name in ("a", "b", "f"):
                (here / name).write_text("curl x\n")
            env = {"PATH": "/opt/programs", "HOME": "/tmp/here", "X": "curl", "F": "f"}
            stderr = run([program, "-c", line], here, env)
            missing = NOT_FOUND.search(stderr.decode(errors="replace"))
            if RAN.exists():
                found.append((line, shell, RAN.read_text()))
                RAN.unlink()
            elif missing:
                found.append((line, shell, missing[0]))
    print()
    print(json.dumps(found))


main()
