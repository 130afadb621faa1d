"""Mending what can do no harm: the commands of findings that are marked safe, each said before it is run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agentd.doctor.finding import Finding

SECONDS = 120


def commands(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """What `--fix` would run, each once, in the order of the findings."""
    wanted = [found.fix.argv for found in findings if found.level != "ok" and found.fix is not None and found.fix.safe]
    return list(dict.fromkeys(wanted))


def mend(
    chosen: Sequence[tuple[str, ...]], folder: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> bool:
    """Run them one after the other, telling each before and how it ended; True when all went well."""
    well = True
    for argv in chosen:
        say(f"fix: {shlex.join(argv)}")
        program = [sys.executable, "-m", "agentd", *argv[1:]] if argv[0] == "agentd" else list(argv)
        try:
            done = subprocess.run(
                program, cwd=folder, env=dict(environ), capture_output=True, text=True, timeout=SECONDS
            )
            printed, exit_status = (done.stdout + done.stderr).strip(), done.returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            printed, exit_status = str(error), 1
        well = well and exit_status == 0
        for line in printed.splitlines()[-5:]:
            say(f"     {line}")
    return well
