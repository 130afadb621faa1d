"""Holds: why a task, or everything, waits, and until when. They survive restarts and charge no attempt."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, delete, insert, select

from agentd.model import Decision, Verdict
from agentd.store import schema
from agentd.store.connection import Store
from agentd.store.glance import hold_end


def hold(store: Store, verdict: Verdict, told: Callable[[Connection], object]) -> bool:
    """Record a hold by its scope; True when it is new or says something new: then `told` is part of the transaction.

    `since` is when it was set, and stays with an unchanged hold that has no end. See agentd.store.verdicts, which
    makes an Event of it.
    """
    with store.write() as connection:
        query = select(schema.holds).where(schema.holds.c.scope == verdict.scope)
        row = connection.execute(query).mappings().first()
        same = row is not None and (row["rule_id"], row["reason"]) == (verdict.rule_id, verdict.observed)
        stays = same and row is not None and verdict.retry_at is None
        since = row["since"] if row is not None and stays else store.clock.now().isoformat()
        connection.execute(delete(schema.holds).where(schema.holds.c.scope == verdict.scope))
        connection.execute(
            insert(schema.holds).values(
                scope=verdict.scope,
                rule_id=verdict.rule_id,
                reason=verdict.observed,
                action=verdict.action,
                since=since,
                retry_at=verdict.retry_at.isoformat() if verdict.retry_at else None,
            )
        )
        if not same:
            told(connection)
    return not same


PAUSE = "pause"
"""Scope of the hold that an operator set: nothing is started."""


def pause_scope(profile: str | None) -> str:
    """Scope of an operator's pause: of everything, or of one profile."""
    return f"{PAUSE}:{profile}" if profile else PAUSE


def profile_scope(name: str) -> str:
    """Scope of a hold of everything that one profile would work on."""
    return f"profile:{name}"


def lift(store: Store, scope: str) -> bool:
    """End a hold; True when there was one."""
    with store.read() as connection:
        found = connection.execute(select(schema.holds.c.scope).where(schema.holds.c.scope == scope)).first()
    if found is None:
        return False
    with store.write() as connection:
        return connection.execute(delete(schema.holds).where(schema.holds.c.scope == scope)).rowcount > 0


def holds(store: Store) -> dict[str, Verdict]:
    """All holds by scope. One that was set in the future, before the clock was set back, is over."""
    now = store.clock.now()
    with store.read() as connection:
        rows = connection.execute(select(schema.holds).order_by(schema.holds.c.scope)).mappings()
        return {
            row["scope"]: Verdict(
                control="hold",
                rule_id=row["rule_id"],
                decision=Decision.hold,
                scope=row["scope"],
                observed=row["reason"],
                action=row["action"],
                retry_at=hold_end(row["since"], row["retry_at"], now),
            )
            for row in rows
        }
