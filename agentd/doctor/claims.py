"""Claims that nobody renews: the store's, and those that this installation has left on the remote."""

from __future__ import annotations

from collections.abc import Iterator

from agentd.doctor.finding import Code, Finding, safe
from agentd.doctor.visit import Visit
from agentd.supervisor.lead import LEAD

STALE = Code(
    "claims.stale",
    "Task locks",
    "a claim is over, was never given back, and no run of its task lives: whoever had it is gone",
    "nothing has to be done, the next run takes it over; the command ends it at once",
)
LIVE = Code("claims.live", "Claims", "never: who may act for what", "nothing")
CODES = (STALE, LIVE)


def checks(visit: Visit) -> Iterator[Finding]:
    """Nothing without a store."""
    if visit.store is None:
        return
    busy = {run.task_id for run in visit.active}
    live, stale = 0, 0
    for row in visit.claims:
        claim = row.claim
        if claim.task_id == LEAD:
            continue
        if row.seconds_left > 0 or claim.task_id in busy:
            live += 1
            continue
        stale += 1
        words = ("claims", "break", claim.task_id)
        yield STALE.warn(
            f"{claim.task_id}: its claim, generation {claim.generation} of {claim.holder}, is over",
            visit.agentd(*words),
            subject=claim.task_id,
            fix=safe(*visit.argv(*words)),
        )
    if not stale:
        yield STALE.ok("none that nobody renews")
    yield LIVE.ok(f"{live} held")
