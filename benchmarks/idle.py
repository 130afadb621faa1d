"""What agentd costs while it waits: processor, memory, requests."""

from __future__ import annotations

import time

from benchmarks.rows import Row
from benchmarks.site import Site, cpu_percent, memory_mb, site, wait_for

ISSUES = 500
WAITING = ("agent-ready", "status:blocked")
"""Labels of an issue that waits for a person."""
WARM_UP_SECONDS = 5.0
MEASURED_SECONDS = 20.0
OVERLAP_SECONDS = 12.0
"""After so long, new issues are no news to the poller any more."""
IDLE_POLLS = 5


def rest() -> list[Row]:
    """A supervisor whose next poll is a minute away, with 500 issues in its memory."""
    with site() as place:
        _fill(place)
        place.configure("poll_interval_seconds = 60", agent="true")
        with place.supervisor() as supervisor:
            wait_for(lambda: len(_list_reads(place)) >= ISSUES / 100)
            time.sleep(WARM_UP_SECONDS)
            percent = cpu_percent(supervisor, MEASURED_SECONDS)
            return [
                Row("idle supervisor cpu", percent, "% core", 1, f"over {MEASURED_SECONDS:g} s"),
                Row("idle supervisor memory", memory_mb(supervisor), "MB", 120, f"{ISSUES} issues known"),
            ]


def polls() -> list[Row]:
    """Requests for the first look at 500 issues, and for each look when nothing has changed."""
    with site() as place:
        _fill(place)
        time.sleep(OVERLAP_SECONDS)
        place.configure("poll_interval_seconds = 0.5", agent="true")
        with place.supervisor():
            wait_for(lambda: len(_unchanged(place)) > IDLE_POLLS, 0.2)
            told = place.requests()
        first = _unchanged(place)[0]
        idle = told[first:]
        each = len(idle) / sum(row["status"] == 304 for row in idle)
        charged = sum(row["charged"] for row in idle)
        return [
            Row("requests for 500 issues", len(_list_reads(place)), "", 5, "one page holds 100"),
            Row("requests per idle poll", each, "", 1, f"over {len(idle)} requests"),
            Row("points per idle poll", charged / len(idle), "", 0, "of the rate limit"),
        ]


def _fill(place: Site) -> None:
    for number in range(ISSUES):
        place.issue(f"Number {number}", WAITING)


def _list_reads(place: Site) -> list[int]:
    """Where in the log a page of all issues was read."""
    return [
        number
        for number, row in enumerate(place.requests())
        if row["path"].endswith("/issues") and "labels=agent-ready" in row["query"]
    ]


def _unchanged(place: Site) -> list[int]:
    """Where in the log it was answered that no issue has changed."""
    return [
        number
        for number, row in enumerate(place.requests())
        if row["path"].endswith("/issues") and row["status"] == 304
    ]
