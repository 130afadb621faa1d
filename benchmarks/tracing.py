"""What writing down the steps of a run takes, beside everything else that agentd adds to it."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from agentd.clock import SystemClock
from agentd.store import steps
from agentd.store.connection import open_store
from agentd.store.spending import metering
from benchmarks.rows import Row
from benchmarks.site import site

TIMES = 5
NANO = 1e9


def recording() -> list[Row]:
    """The writes of the steps of real runs, done again on the same disk, as a part of those runs' own overhead."""
    shares, notes = [], []
    with site() as place:
        place.configure(agent="cat > work.txt")
        for number in range(TIMES):
            place.issue(f"task {number}")
            place.agentd("once")
        state, traces = place.folder / ".agentd" / "state", place.folder / ".agentd" / "logs" / "traces"
        store = open_store("", state, SystemClock(), create=False, read_only=True)
        for trace in traces.glob("*.json"):
            spans = json.loads(trace.read_text())["resourceSpans"][0]["scopeSpans"][0]["spans"]
            found = steps.steps_of(store, trace.stem)
            with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
                told = metering(open_store("", Path(scratch), SystemClock()))
                steps.record(told, found[:1])  # the file is opened
                began = time.perf_counter()
                for step in found:
                    steps.record(told, [step.model_copy(update={"state": "open", "ended_at": None})])
                    steps.record(told, [step])
                seconds = time.perf_counter() - began
            shares.append(100 * seconds / _own_seconds(spans))
            notes.append(f"{1000 * seconds:.1f} of {1000 * _own_seconds(spans):.0f} ms")
    return [Row("tracing, share of a run", statistics.median(shares), "%", 3, f"{sorted(notes)[len(notes) // 2]}")]


def _own_seconds(spans: list[dict[str, Any]]) -> float:
    """A run without its agent's process and its verify command."""
    lengths = {span["name"]: int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) for span in spans}
    agent = sum(length for name, length in lengths.items() if name.startswith("invoke_agent"))
    return (lengths["invoke_workflow implement-issue"] - agent - lengths["stage verify-0"]) / NANO
