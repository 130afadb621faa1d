"""What the model gateway decides while an agent works, and what becomes of the run.

The gateway's word goes before the agent's: agents call a refusal many things, and some try again without end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from agentd.agents.endpoints import credentials_of
from agentd.model import Decision, Verdict
from agentd.run.desk import Desk, RunEnd
from agentd.states import RunState
from agentd.store import holds
from agentd.store.holds import profile_scope

if TYPE_CHECKING:
    from agentd.gateway.service import Notice

LONGEST_QUOTA = timedelta(days=1)
"""The longest wait for a quota: it holds every task of the profiles that share the credential."""
JITTER = 0.1
"""Part of a wait that is added at random, so that not all installations of an account come back in one moment."""
MOST_JITTER = timedelta(minutes=2)


class Notices:
    """The notices of one turn of one run's agent. Call it with each."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._found: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        """Keep it, and make an Event of it."""
        verdict = notice.verdict
        self._found.append(notice)
        self._desk.context.emit(
            "policy_decided",
            self._desk.run,
            {
                "kind": verdict.control,
                "verdict": verdict.decision,
                "rule_id": verdict.rule_id,
                "subject": verdict.scope,
                "reason": verdict.observed,
                "limit": verdict.limit,
            },
            status="ok" if notice.kind == "soft" else "failed",
        )

    @property
    def is_over(self) -> bool:
        """Whether the agent need not go on: there will be no further answer for it."""
        return any(notice.kind in ("hard", "quota") for notice in self._found)

    def require_none(self) -> None:
        """Raises RunEnd by the gravest notice there was, for an agent that did not do its part."""
        by_kind = {notice.kind: notice.verdict for notice in reversed(self._found)}
        if (verdict := by_kind.get("hard")) is not None:
            limit = f" (limit: {verdict.limit})" if verdict.limit else ""
            raise RunEnd(RunState.halted, f"{verdict.observed}{limit}", detail=verdict.action)
        if (verdict := by_kind.get("quota")) is not None:
            now = self._desk.context.clock.now()
            raise out_of_quota(self._desk, verdict.observed, verdict.retry_at or now)
        if (verdict := by_kind.get("auth")) is not None:
            raise RunEnd(RunState.failed, verdict.observed, detail=verdict.action)


def out_of_quota(desk: Desk, reason: str, retry_at: datetime) -> RunEnd:
    """A used-up quota is one fact for every profile that uses the credential: they wait, and no attempt is charged."""
    now = desk.context.clock.now()
    jitter = min((retry_at - now) * JITTER, MOST_JITTER) * Random(desk.run.run_id).random()
    until = min(max(retry_at, now) + max(jitter, timedelta()), now + LONGEST_QUOTA)
    for name in sharing(desk):
        holds.hold(
            desk.context.store,
            Verdict(
                control="model",
                rule_id="model_quota",
                decision=Decision.hold,
                scope=profile_scope(name),
                observed=reason,
                action="nothing to do: dispatch goes on by itself at the reset",
                retry_at=until,
            ),
        )
    return RunEnd(RunState.failed_retry, reason, retry_at=until)


def sharing(desk: Desk) -> set[str]:
    """Names of the run's profile and of all others whose agents use a key of its agent's."""
    context, mine = desk.context, desk.profile
    used = credentials_of(mine, context.environ)
    profiles = (*context.settings.profiles.values(), context.settings.profile_named("build"))
    return {mine.name, *(each.name for each in profiles if used & credentials_of(each, context.environ))}
