"""What the model gateway decides while an agent works, and what becomes of the run.

The gateway's word goes before the agent's: agents call a refusal many things, and some try again without end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from agentd.agents.endpoints import credentials_of, families_of
from agentd.model import Decision, Profile, Verdict
from agentd.policy.gates import ENDS_RUN
from agentd.run.desk import Desk, RunEnd
from agentd.run.tools import ToolMeters
from agentd.states import RunState
from agentd.store.holds import profile_scope

if TYPE_CHECKING:
    from agentd.gateway.service import Notice

LONGEST_QUOTA = timedelta(days=1)
"""The longest wait for a quota: it holds every task of the profiles that share the credential."""
JITTER = 0.1
"""Part of a wait that is added at random, so that not all installations of an account come back in one moment."""
MOST_JITTER = timedelta(minutes=2)
TRIED_AGAIN = timedelta(minutes=15)
"""After it a budget that does not open by itself is looked at again, by a run that ends at its first call."""
NO_PRICE = "budget_no_price"


class Notices:
    """The notices of one turn of one run's agent. Call it with each."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._found: list[Notice] = []
        self._ending: Verdict | None = None
        self.meters = ToolMeters(desk)

    def __call__(self, notice: Notice) -> None:
        """Keep it, and make an Event of it."""
        verdict = notice.verdict
        self._found.append(notice)
        self._desk.decided(verdict)

    def is_news(self, verdict: Verdict) -> bool:
        """Take in what the policy has decided; False where the run is being ended, by this rule or another one."""
        if not ENDS_RUN.get(verdict.rule_id):
            return True
        is_first = self._ending is None
        self._ending = self._ending or verdict
        return is_first

    @property
    def is_over(self) -> bool:
        """Whether the agent need not go on: there will be no further answer for it, or the policy ends the run."""
        if self._ending is None and (verdict := self.meters.over()) is not None and self.is_news(verdict):
            self._desk.decided(verdict)
        return self._ending is not None or any(notice.kind in ("hard", "quota") for notice in self._found)

    def require_allowed(self) -> None:
        """Raises RunEnd when the policy ends the run, whatever the agent says of itself."""
        if (verdict := self._ending) is not None:
            limit = f" (limit: {verdict.limit})" if verdict.limit else ""
            reason = f"the policy ended the run: {verdict.observed}{limit}"
            raise RunEnd(RunState.halted, reason, rule=verdict.rule_id, detail=verdict.action, verdict=verdict)

    def require_none(self) -> None:
        """Raises RunEnd by the gravest notice there was, for an agent that did not do its part."""
        by_kind = {notice.kind: notice.verdict for notice in reversed(self._found)}
        if (verdict := by_kind.get("hard")) is not None:
            raise out_of_budget(self._desk, verdict)
        if (verdict := by_kind.get("quota")) is not None:
            now = self._desk.context.clock.now()
            raise out_of_quota(self._desk, verdict.observed, verdict.retry_at or now)
        if (verdict := by_kind.get("auth")) is not None:
            raise RunEnd(
                RunState.failed, verdict.observed, rule="model_credential", detail=verdict.action, verdict=verdict
            )


def out_of_budget(desk: Desk, verdict: Verdict) -> RunEnd:
    """The end at a hard limit: of the task when the limit is its own, else a wait of all that share the limit.

    Nothing is wrong with a task that meets the limit of a day. Limits may be raised meanwhile, so it is tried again.
    """
    limit = f" (limit: {verdict.limit})" if verdict.limit else ""
    reason = f"the budget of {verdict.scope}: {verdict.observed}{limit}"
    if verdict.scope.startswith(("run:", "task:")) and verdict.rule_id != NO_PRICE:
        return RunEnd(RunState.halted, reason, rule=verdict.rule_id, detail=verdict.action, verdict=verdict)
    until = verdict.retry_at or desk.context.clock.now() + TRIED_AGAIN
    names = models_users(desk) if verdict.scope.startswith(("day:", "global:")) else {desk.profile.name}
    _hold(verdict.rule_id, desk, names, reason, verdict.action, until)
    return RunEnd(RunState.failed_retry, reason, rule=verdict.rule_id, retry_at=until, verdict=verdict)


def out_of_quota(desk: Desk, reason: str, retry_at: datetime) -> RunEnd:
    """A used-up quota is one fact for every profile that uses the credential: they wait, and no attempt is charged."""
    now = desk.context.clock.now()
    jitter = min((retry_at - now) * JITTER, MOST_JITTER) * Random(desk.run.run_id).random()
    until = min(max(retry_at, now) + max(jitter, timedelta()), now + LONGEST_QUOTA)
    action = "nothing to do: dispatch goes on by itself at the reset"
    _hold("model_quota", desk, sharing(desk), reason, action, until)
    return RunEnd(RunState.failed_retry, reason, rule="model_quota", retry_at=until)


def _hold(rule_id: str, desk: Desk, profiles: set[str], reason: str, action: str, until: datetime) -> None:
    for name in profiles:
        desk.hold(
            Verdict(
                control="model",
                rule_id=rule_id,
                decision=Decision.hold,
                scope=profile_scope(name),
                observed=reason,
                action=action,
                retry_at=until,
            )
        )


def sharing(desk: Desk) -> set[str]:
    """Names of the run's profile and of all others whose agents use a key of its agent's."""
    environ, mine = desk.context.environ, desk.profile
    used = credentials_of(mine, environ)
    return {mine.name, *(each.name for each in _profiles(desk) if used & credentials_of(each, environ))}


def models_users(desk: Desk) -> set[str]:
    """Names of the profiles whose agents ask models."""
    environ = desk.context.environ
    return {desk.profile.name, *(each.name for each in _profiles(desk) if families_of(each, environ))}


def _profiles(desk: Desk) -> tuple[Profile, ...]:
    settings = desk.context.settings
    return (*settings.profiles.values(), settings.profile_named("build"))
