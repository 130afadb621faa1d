"""What the gates of a run's tool calls go by: the policy, the profile, and what the run has used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentd.agents.builtin.program.tools import TOOLS
from agentd.errors import ClaimLost
from agentd.model import Verdict
from agentd.policy.budget_settings import NANO
from agentd.policy.document import gates_of
from agentd.policy.gates import Gates, RunMeters, ToolCall, over_budget, repeat_key
from agentd.run.desk import Desk
from agentd.store import spending
from agentd.store.connection import Store

MOST_KINDS = 10_000
"""Different tool calls that a run's repetitions are counted of; further ones are taken for new."""


class ToolMeters:
    """The meters of one run. Repetitions are counted by process: after a restart they begin anew."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.scope = f"run:{desk.run.run_id}"
        self.gates = gates_for(desk)
        self._is_asked = False
        self._repeats = desk.context.repeats.setdefault(desk.run.run_id, Counter())
        clock = desk.context.clock
        # Only until now by the wall clock, which other hosts know too; from now on it may be set.
        self._began = clock.boottime() - max(0.0, (clock.now() - desk.run.started_at).total_seconds())

    def __call__(self, call: ToolCall) -> RunMeters:
        """What is known now, at a call, which is counted."""
        self._is_asked = True
        key = repeat_key(call)
        repeats = self._repeats[key]
        if repeats or len(self._repeats) < MOST_KINDS:
            self._repeats[key] += 1
        return self.used()._replace(repeats=repeats)

    def used(self) -> RunMeters:
        """What the run has used, and whether it is still wanted and may act."""
        desk = self._desk
        used = _spent(desk.context.store, self.scope) if self.gates.limits else RunMeters()
        wall = desk.context.clock.boottime() - self._began
        killed = desk.context.cancels.get(desk.run.run_id, "")
        return used._replace(wall_seconds=wall, killed=killed, revoked=_revoked(desk))

    def over(self) -> Verdict | None:
        """The loop budget's verdict, when it is used up.

        An agent that asks before each call is ended at a call, which is always the same one; only time passes without.
        """
        limits = tuple(limit for limit in self.gates.limits if limit.kind == "wall" or not self._is_asked)
        return over_budget(replace(self.gates, limits=limits), self.used(), self.scope) if limits else None


def gates_for(desk: Desk) -> Gates:
    """The gates of a run."""
    hosts = frozenset(name.partition(":")[0].lower() for name in desk.profile.hosts)
    return gates_of(desk.context.policy, desk.run.run_id, hosts, schemas_of(desk.profile.adapter))


def schemas_of(adapter: str) -> Mapping[str, Mapping[str, Any]]:
    """JSON Schemas of an agent's tools, where agentd has them."""
    return {tool.name: tool.schema for tool in TOOLS} if adapter == "builtin" else {}


def _spent(store: Store, scope: str) -> RunMeters:
    with store.read() as connection:
        meter = spending.load_meters(store, connection, [scope])[scope]
    # A call whose answer the agent has may not be settled yet: it is counted all the same.
    used, begun = meter.used, meter.used.calls + meter.reserved.calls
    return RunMeters(iterations=begun, tokens=used.tokens, cost_usd=used.nano_usd / NANO)


def _revoked(desk: Desk) -> str:
    try:
        desk.holding.check_clock()
    except ClaimLost as lost:
        return str(lost)
    return ""
