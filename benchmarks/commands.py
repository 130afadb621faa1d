"""How long a person waits for a command that only prints."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.rows import Row
from benchmarks.site import Site, site

TIMES = 11


def help_page() -> list[Row]:
    """`agentd --help`, beside an interpreter that does nothing."""
    with site() as place:
        return [_row("agentd --help", place, 250, "--help")]


def status() -> list[Row]:
    """`agentd status` with a store that has one finished run."""
    with site() as place:
        place.configure(agent="cat > work.txt")
        place.issue("one")
        place.agentd("once")
        return [_row("agentd status", place, 500, "status")]


def _row(name: str, place: Site, bar_ms: float, argument: str) -> Row:
    nothing, command = [], []
    for _ in range(TIMES):
        nothing.append(_milliseconds(place, "-c", "pass"))
        command.append(_milliseconds(place, "-m", "agentd", argument))
    beside = statistics.median(nothing)
    return Row(name, statistics.median(command), "ms", bar_ms, f"python -c pass takes {beside:.0f} ms")


def _milliseconds(place: Site, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=place.folder, env=place.environ, check=True, stdout=subprocess.DEVNULL
    )
    return 1000 * (time.perf_counter() - began)
