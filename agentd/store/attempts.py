"""The attempt Meter: the one place that every start of work charges, counted per cause since the last success."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update

from agentd.store import schema
from agentd.store.connection import Store

BACKOFF_BASE_SECONDS = 10.0
BACKOFF_CAP_SECONDS = 300.0


def charge(store: Store, connection: Connection, task_id: str, run_id: str) -> int:
    """Charge one attempt in the transaction that admits the run; the attempt's number, 1 for the first ever."""
    connection.execute(insert(schema.attempts).values(task_id=task_id, run_id=run_id, at=store.clock.now().isoformat()))
    query = select(func.count()).select_from(schema.attempts).where(schema.attempts.c.task_id == task_id)
    return int(connection.execute(query).scalar_one())


def settle(store: Store, run_id: str, cause: str) -> None:
    """Name the cause of a bad end: conflict, infrastructure or agent."""
    with store.write() as connection:
        connection.execute(update(schema.attempts).where(schema.attempts.c.run_id == run_id).values(cause=cause))


def refund(store: Store, run_id: str) -> None:
    """Take the charge of a run back that never began: somebody else had the claim."""
    with store.write() as connection:
        connection.execute(update(schema.attempts).where(schema.attempts.c.run_id == run_id).values(cleared=1))


def clear(store: Store, task_id: str) -> None:
    """Begin counting anew: after a success, or when a person asks for the task again."""
    with store.write() as connection:
        connection.execute(update(schema.attempts).where(schema.attempts.c.task_id == task_id).values(cleared=1))


def counts(store: Store, task_id: str) -> dict[str, int]:
    """Bad ends per cause since the last success."""
    query = (
        select(schema.attempts.c.cause, func.count())
        .where(
            schema.attempts.c.task_id == task_id,
            schema.attempts.c.cleared == 0,
            schema.attempts.c.cause.is_not(None),
        )
        .group_by(schema.attempts.c.cause)
    )
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def backoff_seconds(failures: int) -> float:
    """10 s x 2^n, at most 5 minutes, after the n-th failure in a row."""
    return float(min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2 ** max(0, failures - 1)))
