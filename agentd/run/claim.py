"""The claim of a living run: taken twice (store and remote ref), renewed, checked before every outside write.

The remote half is a commit under `refs/agentd/claims/` that is only ever moved by compare-and-swap. Whoever
finds it takes it over when it has not moved for its lease on the finder's own clock, so clocks need not agree.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agentd.errors import AgentdError, ClaimLost, GitError
from agentd.git import mirror as git_mirror
from agentd.git.naming import claim_ref
from agentd.git.push import Outdated, RefusedRef, claim_commit, delete_claim, push_claim
from agentd.model import Claim, canonical_json
from agentd.run.context import Context
from agentd.store import claims as store_claims
from agentd.store import runs

RENEWALS_PER_LEASE = 4
LOOKS = 3
"""How often the remote is looked at for a claim that moves meanwhile."""
RELEASE_PAUSES_SECONDS = (1.0, 5.0)
"""Between the tries to take our ref off the remote; one that stays is taken over by us at once, by others later."""


class Abandoned(asyncio.CancelledError):
    """Ends the work on a run in this process without an end of the run: nothing is recorded, here or in the engine.

    Whoever has the run then goes on with it from the last recorded stage. A cancellation, because the engine records
    every other error as the workflow's result.
    """


class HeldElsewhere(AgentdError):
    """Somebody else has the claim; `seconds` until it might be free."""

    def __init__(self, holder: str, seconds: float) -> None:
        super().__init__(f"the claim is held by {holder}")
        self.seconds = seconds


class Holding:
    """The state of one claim while its run lives."""

    def __init__(self, context: Context, claim: Claim, deadline: float, remote_deadline: float) -> None:
        self.context = context
        self.claim = claim
        self.store_deadline = deadline
        self.remote_deadline = remote_deadline
        self.lost = ""
        self._moving = threading.Lock()
        """Held while the remote ref is moved: a renewal goes on in its thread when its task is cancelled."""
        self._given_back = False

    @property
    def name(self) -> str:
        """`<task>/<generation>`: the fencing token, as it is sent along with every write."""
        return f"{self.claim.task_id}/{self.claim.generation}"

    def deadline(self) -> float:
        """Boot time at which the agent must be gone: the earlier end of the two leases, 0 when one is lost."""
        return 0.0 if self.lost else min(self.store_deadline, self.remote_deadline)

    def check(self) -> None:
        """Raises ClaimLost unless both halves are live now. Call immediately before every outside write."""
        self.check_clock()
        store_claims.check(self.context.store, self.claim)

    def check_clock(self) -> None:
        """The part of it that asks nobody: raises ClaimLost when what is known of the two leases is over."""
        if self.lost:
            raise ClaimLost(f"{self.claim.task_id}: {self.lost}")
        if self.context.clock.boottime() >= self.deadline():
            raise ClaimLost(f"{self.claim.task_id}: the lease of claim generation {self.claim.generation} is over")

    async def keep(self) -> None:
        """Renew until cancelled. What cannot be renewed runs out; what was taken over is lost at once."""
        settings = self.context.settings.claim
        pause = settings.lease_seconds / RENEWALS_PER_LEASE
        remote_pause = settings.remote_lease_seconds / RENEWALS_PER_LEASE
        remote_due = self.context.clock.boottime() + remote_pause
        while not self.lost:
            await asyncio.sleep(pause)
            try:
                self.store_deadline = await asyncio.to_thread(
                    store_claims.renew, self.context.store, self.claim, settings.lease_seconds
                )
                if self.claim.remote_sha and self.context.clock.boottime() >= remote_due:
                    await asyncio.to_thread(self._renew_remote)
                    remote_due = self.context.clock.boottime() + remote_pause
            except (ClaimLost, Outdated) as error:
                self.lost = str(error)
            except (AgentdError, OSError):
                continue  # network, remote, database or memory may be there again before the lease is over

    async def release(self) -> None:
        """Give both halves back; one that ran out too, unless somebody has taken it over."""
        store = self.context.store
        for pause in (*RELEASE_PAUSES_SECONDS, None):
            if not self.claim.remote_sha or not await asyncio.to_thread(store_claims.is_newest, store, self.claim):
                break
            try:
                await asyncio.to_thread(self._delete_remote)
                break
            except Outdated:
                break
            except (GitError, RefusedRef) as error:
                if pause is None or not (isinstance(error, GitError) and error.is_passing):
                    break
                await self.context.sleep(pause)
        await asyncio.to_thread(store_claims.release, store, self.claim)

    def _renew_remote(self) -> None:
        with self._moving:
            if self._given_back:
                return
            before = self.context.clock.boottime()
            sha = _push(self.context, self.claim, self.claim.remote_sha)
            self.claim = store_claims.set_remote(self.context.store, self.claim, sha)
            self.remote_deadline = before + self.context.settings.claim.remote_lease_seconds

    def _delete_remote(self) -> None:
        with self._moving:
            self._given_back = True
            delete_claim(self.context.mirror, self.claim.task_id, self.claim.remote_sha)


@asynccontextmanager
async def claimed(context: Context, task_id: str, run_id: str) -> AsyncIterator[Holding]:
    """Hold the task's claim; never part of what a replay remembers, so every incarnation has its own generation.

    The task's refs must have been fetched just before. Raises HeldElsewhere, RefusedRef, GitError.
    """
    while True:
        try:
            holding = await asyncio.to_thread(take, context, task_id, run_id)
            break
        except HeldElsewhere:
            owner, seconds = store_claims.run_of(context.store, task_id)
            if owner != run_id:
                raise
            run = runs.get_run(context.store, run_id)
            if run is None or run.executor != context.executor:
                raise Abandoned(f"{run_id}: given to another executor") from None
            # The incarnation of this very run before us: its tree is gone when its lease is.
            await asyncio.sleep(min(seconds, 1.0))
    keeper = asyncio.create_task(holding.keep())
    try:
        yield holding
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
    # Only an orderly end gives the claim back: after a crash or a stop it runs out, or its own installation retakes it.
    await holding.release()


def take(context: Context, task_id: str, run_id: str) -> Holding:
    """Take both halves. Raises HeldElsewhere, ClaimLost, RefusedRef, GitError."""
    settings = context.settings.claim
    before = context.clock.boottime()
    claim = store_claims.acquire(context.store, task_id, context.holder, run_id, settings.lease_seconds)
    if claim is None:
        raise HeldElsewhere("another executor of this installation", settings.lease_seconds)
    if not settings.remote:
        return Holding(context, claim, before + settings.lease_seconds, float("inf"))
    try:
        sha = _take_remote(context, claim)
    except Outdated:
        store_claims.release(context.store, claim)
        raise HeldElsewhere("whoever was quicker a moment ago", settings.remote_lease_seconds) from None
    except (HeldElsewhere, RefusedRef, GitError):
        store_claims.release(context.store, claim)
        raise
    claim = store_claims.set_remote(context.store, claim, sha)
    if not store_claims.is_newest(context.store, claim):
        with suppress(Outdated, RefusedRef, GitError):  # whoever has taken it over may be done, and did not see ours
            delete_claim(context.mirror, task_id, sha)
        raise ClaimLost(f"{task_id}: claim generation {claim.generation} was taken over before it was on the remote")
    return Holding(context, claim, before + settings.lease_seconds, before + settings.remote_lease_seconds)


def _take_remote(context: Context, claim: Claim) -> str:
    """The commit of the claim on the remote. Raises Outdated, HeldElsewhere, RefusedRef, GitError.

    Whoever was quicker since the last fetch may be of this installation: stopped for long, and stale by the store.
    """
    looks = 1
    while True:
        seen = git_mirror.seen_claim(context.mirror, claim.task_id) or ""
        if seen:
            _require_free(context, claim.task_id, seen)
        try:
            return _push(context, claim, seen)
        except Outdated:
            if looks == LOOKS:
                raise
            looks += 1
            git_mirror.fetch_claims(context.mirror)


def is_over(context: Context, task_id: str, seen: str) -> bool:
    """True when the remote claim at commit `seen` may be taken over."""
    try:
        _require_free(context, task_id, seen)
    except HeldElsewhere:
        return False
    return True


def _require_free(context: Context, task_id: str, seen: str) -> None:
    """Raises HeldElsewhere while a foreign installation's claim lives. Its text is untrusted."""
    try:
        words = json.loads(git_mirror.message_of(context.mirror, seen))
        installation, holder = str(words["installation"])[:64], str(words["holder"])[:200]
        lease = min(86_400.0, max(1.0, float(words["lease_seconds"])))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        installation, holder, lease = "", "an unreadable claim", context.settings.claim.remote_lease_seconds
    if installation == context.store.installation_id():
        return  # our own store has just said that the claim before is over
    left = lease - store_claims.unchanged_for(context.store, claim_ref(task_id), seen)
    if left > 0:
        raise HeldElsewhere(holder, left)


def _push(context: Context, claim: Claim, expected: str) -> str:
    message = canonical_json(
        {
            "installation": context.store.installation_id(),
            "holder": claim.holder,
            "run_id": claim.run_id,
            "generation": claim.generation,
            "lease_seconds": context.settings.claim.remote_lease_seconds,
            "at": context.clock.now().isoformat(),
        }
    )
    sha = claim_commit(context.mirror, message, expected)
    push_claim(context.mirror, claim.task_id, sha, expected)
    return sha
