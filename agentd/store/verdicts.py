"""Verdicts in the ledger: the one place that makes an Event of a deny, a hold, a halt or a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from agentd.clock import new_id
from agentd.model import Decision, Event, Run, Verdict
from agentd.store import holds, ledger, steps
from agentd.store.connection import Store

Source = Literal["supervisor", "worker", "reconciler"]
CHARACTERS = 1_000
"""of each text of an Event"""
MOST_EVIDENCE = 20
REPOSITORY, NO_RUN = "repository", "none"
"""Task and run of a verdict that is about everything."""
STATUS: dict[Decision, Literal["ok", "failed", "skipped"]] = {Decision.allow: "ok", Decision.hold: "skipped"}
"""Of the Event; that of every other decision is `failed`."""


@dataclass(frozen=True)
class About:
    """Whom a verdict concerns."""

    repo: str
    source: Source
    run: Run | None = None
    task_id: str = REPOSITORY
    """of a verdict without a run"""
    issue_number: int | None = None
    clean: Callable[[str], str] = str
    """takes secrets out"""


def record(store: Store, verdict: Verdict, about: About, *, once: bool = False) -> None:
    """Write a verdict down. With `once`, unless the run's Events have it already: a replay decides the same again."""
    record_all(store, [(verdict, about)], once=once)


def record_all(store: Store, verdicts: Iterable[tuple[Verdict, About]], *, once: bool = False) -> None:
    """Write verdicts down in one transaction."""
    found = [event_of(store, verdict, about) for verdict, about in verdicts]
    new = [event for event in found if not (once and _is_known(store, event))]
    if new:
        with store.write() as connection:
            for event in new:
                ledger.append_in(store, connection, event)


def hold(store: Store, verdict: Verdict, about: About) -> bool:
    """Set a hold; True when it is new or says something new, which is an Event then."""
    event = event_of(store, verdict, about)
    return holds.hold(store, verdict, lambda connection: ledger.append_in(store, connection, event))


def event_of(store: Store, verdict: Verdict, about: About) -> Event:
    """The Event `policy_decided` of a verdict."""
    run = about.run
    return Event(
        event_id=new_id(store.clock, "evt_", "_"),
        timestamp=store.clock.now(),
        source=about.source,
        event_type="policy_decided",
        repo=about.repo,
        task_id=run.task_id if run else about.task_id,
        run_id=run.run_id if run else NO_RUN,
        status=STATUS.get(verdict.decision, "failed"),
        data=data_of(verdict, about.clean),
        issue_number=run.issue_number if run else about.issue_number,
        attempt=run.attempt if run else None,
        branch=run.branch if run else None,
        worktree=(run.workspace or None) if run else None,
    )


def data_of(verdict: Verdict, clean: Callable[[str], str] = str) -> dict[str, Any]:
    """The whole verdict as an Event's data: what it says is bounded, and without secrets and control characters."""

    def told(text: str) -> str:
        return "".join(c if c.isprintable() else " " for c in clean(text[: 64 * CHARACTERS]))[:CHARACTERS]

    evidence = [told(each) for each in verdict.evidence[:MOST_EVIDENCE]]
    data: dict[str, Any] = {
        "verdict": verdict.decision.value,
        "kind": verdict.control,
        "rule_id": verdict.rule_id,
        "scope": told(verdict.scope),
        "subject": ", ".join(evidence)[:CHARACTERS] or told(verdict.scope),
        "reason": told(verdict.observed),
    }
    more = {"limit": told(verdict.limit), "action": told(verdict.action), "evidence": evidence}
    if verdict.retry_at is not None:
        more["retry_at"] = verdict.retry_at.isoformat()
    return data | {key: value for key, value in more.items() if value}


def run_record(store: Store, run_id: str) -> tuple[set[str], set[str]]:
    """(rules that denied something in a run, outcomes of what it tried again), for the failure catalogue."""
    denied = {
        str(event.data.get("rule_id"))
        for event in ledger.events_of(store, run_id)
        if event.event_type == "policy_decided" and event.data.get("verdict") == Decision.deny
    }
    return denied, {step.summary for step in steps.steps_of(store, run_id) if step.kind == "retry_attempt"}


def _is_known(store: Store, event: Event) -> bool:
    mine = (event.data["kind"], event.data["rule_id"], event.data["verdict"], event.data["reason"])
    return any(
        known.event_type == "policy_decided"
        and tuple(known.data.get(key) for key in ("kind", "rule_id", "verdict", "reason")) == mine
        for known in ledger.events_of(store, event.run_id)
    )
