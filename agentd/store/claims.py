"""The store's half of a claim: generation, holder, deadline. Every check is made on the lease clock."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from agentd.errors import ClaimLost
from agentd.model import Claim
from agentd.store import schema
from agentd.store.connection import Store


@dataclass(frozen=True)
class ClaimRow:
    """A claim as the store has it, with the seconds that are left of it (0 when over or released)."""

    claim: Claim
    seconds_left: float


def acquire(store: Store, task_id: str, holder: str, run_id: str, lease_seconds: float) -> Claim | None:
    """A new generation of the task's claim, or None while somebody else's lease lives.

    The same holder may take its own claim again (a replayed run): it gets a new generation too.
    """
    with store.write() as connection:
        row = _row(connection, task_id)
        now = store.lease_now(connection)
        if row is not None and row["holder"] != holder and _left(store, row, now) > 0:
            return None
        generation = int(row["generation"]) + 1 if row is not None else 1
        values = {
            "holder": holder,
            "run_id": run_id,
            "generation": generation,
            "deadline": now + lease_seconds,
            "boot_id": store.lease_boot(),
            "released": 0,
        }
        if row is None:
            try:
                connection.execute(insert(schema.claims).values(task_id=task_id, **values))
            except IntegrityError:  # somebody else was quicker a moment ago
                connection.rollback()
                return None
        else:
            connection.execute(update(schema.claims).where(schema.claims.c.task_id == task_id).values(**values))
        return Claim(task_id=task_id, holder=holder, run_id=run_id, generation=generation)


def renew(store: Store, claim: Claim, lease_seconds: float) -> float:
    """Prolong the claim; the new deadline on this machine's boot clock, for the guardian. Raises ClaimLost.

    The deadline counts from before the write, so that it never ends later than the store's.
    """
    before = store.clock.boottime()
    with store.write() as connection:
        require(store, connection, claim)
        deadline = store.lease_now(connection) + lease_seconds
        connection.execute(
            update(schema.claims)
            .where(schema.claims.c.task_id == claim.task_id)
            .values(deadline=deadline, boot_id=store.lease_boot())
        )
    return before + lease_seconds


def check(store: Store, claim: Claim) -> None:
    """Raises ClaimLost unless this generation is the live one. Call immediately before every outside write."""
    with store.read() as connection:
        require(store, connection, claim)


def require(store: Store, connection: Connection, claim: Claim) -> None:
    """Raises ClaimLost unless this generation is the live one; in a transaction that writes, until its end."""
    row = _row(connection, claim.task_id)
    now = store.lease_now(connection)  # only now: the row may have had to be waited for
    if row is None or row["generation"] != claim.generation or row["holder"] != claim.holder:
        found = row["generation"] if row is not None else "none"
        raise ClaimLost(f"{claim.task_id}: claim generation {claim.generation} is stale; the store has {found}")
    if _left(store, row, now) <= 0:
        raise ClaimLost(f"{claim.task_id}: the lease of claim generation {claim.generation} is over")


def is_newest(store: Store, claim: Claim) -> bool:
    """True while nobody has taken the claim over, also when its lease is over."""
    with store.read() as connection:
        row = _row(connection, claim.task_id)
    return row is not None and row["generation"] == claim.generation


def set_remote(store: Store, claim: Claim, sha: str) -> Claim:
    """Remember which commit the remote ref points at while this claim holds it."""
    with store.write() as connection:
        connection.execute(
            update(schema.claims)
            .where(schema.claims.c.task_id == claim.task_id, schema.claims.c.generation == claim.generation)
            .values(remote_sha=sha)
        )
    return claim.model_copy(update={"remote_sha": sha})


def release(store: Store, claim: Claim) -> None:
    """Give the claim back. The generation stays, so that a later holder's is higher; a stale release does nothing."""
    with store.write() as connection:
        connection.execute(
            update(schema.claims)
            .where(schema.claims.c.task_id == claim.task_id, schema.claims.c.generation == claim.generation)
            .values(released=1, remote_sha="")
        )


def expire_holder(store: Store, holder: str) -> int:
    """End every claim of a holder that is known to be gone, process tree included; how many there were."""
    with store.write() as connection:
        done = connection.execute(
            update(schema.claims)
            .where(schema.claims.c.holder == holder, schema.claims.c.released == 0)
            .values(deadline=0.0)
        )
        return done.rowcount


def drop(store: Store, task_id: str) -> bool:
    """End a task's claim by hand; True when there was one. The generation stays, so a zombie's is stale."""
    with store.write() as connection:
        done = connection.execute(
            update(schema.claims)
            .where(schema.claims.c.task_id == task_id, schema.claims.c.released == 0)
            .values(released=1, generation=schema.claims.c.generation + 1)
        )
        return done.rowcount > 0


def list_claims(store: Store) -> list[ClaimRow]:
    """All claims that are not released, by task."""
    query = select(schema.claims).where(schema.claims.c.released == 0).order_by(schema.claims.c.task_id)
    with store.read() as connection:
        now = store.lease_now(connection)
        return [ClaimRow(_claim(row), _left(store, row, now)) for row in connection.execute(query).mappings()]


def run_of(store: Store, task_id: str) -> tuple[str, float]:
    """(run that has the claim, seconds left of it); ("", 0) when nobody has."""
    with store.read() as connection:
        row = _row(connection, task_id)
        left = _left(store, row, store.lease_now(connection)) if row is not None else 0.0
    return (str(row["run_id"]), left) if row is not None and left > 0 else ("", 0.0)


def last_remote(store: Store, task_id: str) -> str:
    """Commit that our remote ref was last set to, or an empty string."""
    with store.read() as connection:
        row = _row(connection, task_id)
    return str(row["remote_sha"]) if row else ""


def unchanged_for(store: Store, ref: str, sha: str) -> float:
    """Seconds since this store first saw the foreign claim at that commit; 0 the first time."""
    with store.write() as connection:
        now = store.clock.boottime()
        boot = store.clock.boot_id()
        query = select(schema.sightings).where(schema.sightings.c.ref == ref)
        row = connection.execute(query).mappings().first()
        if row is not None and row["sha"] == sha and row["boot_id"] == boot:
            return max(0.0, now - float(row["first_seen"]))
        connection.execute(delete(schema.sightings).where(schema.sightings.c.ref == ref))
        connection.execute(insert(schema.sightings).values(ref=ref, sha=sha, first_seen=now, boot_id=boot))
        return 0.0


def _row(connection: Connection, task_id: str) -> RowMapping | None:
    query = select(schema.claims).where(schema.claims.c.task_id == task_id).with_for_update()
    return connection.execute(query).mappings().first()


def _claim(row: RowMapping) -> Claim:
    return Claim(
        task_id=row["task_id"],
        holder=row["holder"],
        run_id=row["run_id"],
        generation=row["generation"],
        remote_sha=row["remote_sha"],
    )


def _left(store: Store, row: RowMapping, now: float) -> float:
    if row["released"] or row["boot_id"] != store.lease_boot():
        return 0.0
    return max(0.0, float(row["deadline"]) - now)
