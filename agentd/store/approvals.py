"""Approvals: which label event approved which text. A later edit of the text is not covered by it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from agentd.store import schema
from agentd.store.connection import Store


@dataclass(frozen=True)
class Approval:
    """The label event that let an issue in, and the hash of title, body and accepted comments at that time."""

    issue_number: int
    event_id: int
    actor: str
    actor_id: int
    content_hash: str


def get_approval(store: Store, issue_number: int) -> Approval | None:
    query = select(schema.approvals).where(schema.approvals.c.issue_number == issue_number)
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return Approval(row["issue_number"], row["event_id"], row["actor"], row["actor_id"], row["content_hash"])


def save_approval(store: Store, approval: Approval) -> None:
    """The newest approval replaces the one before."""
    with store.write() as connection:
        connection.execute(delete(schema.approvals).where(schema.approvals.c.issue_number == approval.issue_number))
        connection.execute(
            insert(schema.approvals).values(
                issue_number=approval.issue_number,
                event_id=approval.event_id,
                actor=approval.actor,
                actor_id=approval.actor_id,
                content_hash=approval.content_hash,
                at=store.clock.now().isoformat(),
            )
        )
