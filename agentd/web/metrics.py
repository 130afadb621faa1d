"""Figures for Prometheus, from the same overview that the page shows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def text(state: dict[str, Any]) -> bytes:
    """The overview in Prometheus' text format."""
    registry = CollectorRegistry()

    def gauge(name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"agentd_{name}", says, labels, registry=registry)

    gauge("supervisor_up", "1 while a supervisor runs on this state directory.").set(state["supervisor"]["running"])
    gauge("runs_active", "Runs that hold a slot.").set(len(state["running"]))
    gauge("slots", "Runs at the same time at most.").set(state["max_parallel"])
    counts = gauge("runs", "Runs by state.", "state")
    for name, number in state["counts"].items():
        counts.labels(name).set(number)
    queue = gauge("queue", "Labelled issues by what was decided of them last.", "decision", "rule")
    for row in state["queue"]:
        queue.labels(row["decision"], row["rule_id"]).inc()
    gauge("holds", "Holds that are set.").set(len(state["holds"]))
    spent = gauge("spent_today", "What model calls have used today.", "unit")
    for unit, value in state["spent_today"].items():
        spent.labels(unit).set(value)
    tick = state["supervisor"]["last_tick"]
    if tick is not None:
        said = gauge("last_tick_timestamp_seconds", "When the supervisor last decided.")
        said.set(datetime.fromisoformat(tick["at"]).timestamp())
    return generate_latest(registry)
