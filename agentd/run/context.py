"""What every stage of a run is given: settings, store, GitHub, mirror, clock, and where this run's files are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentd.agents import AgentEvent
from agentd.agents.endpoints import ENDPOINT_VARIABLES
from agentd.agents.environment import secret_values
from agentd.clock import Clock, new_id
from agentd.config import SandboxMode, Settings
from agentd.git.mirror import Mirror
from agentd.github.client import GitHub
from agentd.loading import read_policy
from agentd.model import Event, EventType, Frozen, Profile, Run, Task, Verdict, canonical_json
from agentd.run.executor import place_of
from agentd.sandbox.redact import redact
from agentd.store import verdicts
from agentd.store.connection import Store
from agentd.store.ledger import append
from agentd.store.spending import metering
from agentd.store.verdicts import About, Source

if TYPE_CHECKING:
    from agentd.gateway.service import Gateway
    from agentd.policy.document import Policy
    from agentd.policy.run_controls import RunControls


class Order(Frozen):
    """What a run is asked to do, fixed at dispatch and kept in the store."""

    task: Task
    profile: Profile
    prompt: str
    after: str = ""
    """run whose stages before `stage` count as done for this one; empty when it begins at the beginning"""
    stage: str = ""
    """`verify` or `publish`"""
    sandbox: SandboxMode = "required"
    """as the settings had it at dispatch"""


@dataclass(frozen=True)
class Context:
    """One process's doors to the outside."""

    settings: Settings
    store: Store
    github: GitHub
    mirror: Mirror
    clock: Clock
    executor: str
    """this incarnation of this process; see agentd.run.executor"""
    environ: Mapping[str, str]
    """agentd's own environment; what of it a run gets is decided by name"""
    holder: str
    """who holds claims: installation and executor"""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    show: Callable[[str, AgentEvent | str], None] | None = None
    """shown live output of a run: run id, normalised event or line"""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """set when this process ends without waiting for its runs"""
    cancels: dict[str, str] = field(default_factory=dict)
    """runs of this process that are to end, with the reason; the store has the same, this is the short way"""
    carried: dict[str, float] = field(default_factory=dict)
    """runs that this process carries, with the boot time since when"""
    broken: list[str] = field(default_factory=list)
    """why this process must end: a run could not be recorded any more, so it can only go on in the next one"""

    repeats: dict[str, Counter[str]] = field(default_factory=dict)
    """by run, how often each tool call was asked for in this process"""
    gateways: dict[str, Gateway] = field(default_factory=dict)
    """model gateways of this process, by what profiles themselves say of their services; see gateway_for"""

    remembered: dict[str, object] = field(default_factory=dict)
    """what this process has found out outside and need not ask again"""

    @property
    def place(self) -> str:
        """The state directory and host of this process; see agentd.run.executor."""
        return place_of(self.executor)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that nothing stored or posted may hold."""
        token = self.settings.token.get_secret_value()
        return (*([token] if token else []), *secret_values(self.environ))

    @cached_property
    def telemetry(self) -> Store:
        """The same store for what only tells: a write of it does not wait for the disk."""
        return metering(self.store)

    @property
    def policy(self) -> Policy:
        """The policy document of this installation. Raises ConfigurationError."""
        return read_policy(self.settings.policy)

    @property
    def run_controls(self) -> RunControls:
        """Those of the policy document, else of the settings."""
        return self.policy.document.run_controls or self.settings.run_controls

    def gateway_for(self, profile: Profile) -> Gateway:
        """The gateway to the services that the profile and agentd's environment name. Raises ConfigurationError."""
        from agentd.gateway.service import Gateway, upstreams_of

        own = {name: value for name, value in profile.env.items() if name in ENDPOINT_VARIABLES}
        key = canonical_json(own)
        if key not in self.gateways:
            settings = self.settings
            upstreams = upstreams_of({**self.environ, **own}, settings.gateway)
            self.gateways[key] = Gateway(self.store, upstreams, settings.budgets, settings.gateway)
        return self.gateways[key]

    def close_gateways(self) -> None:
        """End every gateway of this process; calls under way are settled."""
        while self.gateways:
            self.gateways.popitem()[1].close()

    def run_dir(self, run_id: str) -> Path:
        """Files of one run that outlive its worker: results, the supervisor's index, the agent's home."""
        return self.settings.state_dir / "runs" / run_id

    def log_path(self, run_id: str) -> Path:
        return self.settings.log_dir / "workers" / f"{run_id}.log"

    def emit(
        self,
        event_type: EventType,
        run: Run,
        data: dict[str, Any],
        *,
        status: Literal["ok", "failed", "skipped"] = "ok",
        source: Source = "worker",
    ) -> None:
        """Write one Event about a run to the ledger."""
        append(
            self.store,
            Event(
                event_id=new_id(self.clock, "evt_", "_"),
                timestamp=self.clock.now(),
                source=source,
                event_type=event_type,
                repo=self.settings.repo,
                task_id=run.task_id,
                run_id=run.run_id,
                status=status,
                data=data,
                issue_number=run.issue_number,
                attempt=run.attempt,
                branch=run.branch,
                worktree=run.workspace or None,
            ),
        )

    def decided(self, verdict: Verdict, run: Run, *, source: Source = "worker", once: bool = False) -> None:
        """Write a verdict about a run to the ledger; `once`: unless its Events have it."""
        verdicts.record(self.store, verdict, self.about(run, source), once=once)

    def hold(self, verdict: Verdict, run: Run | None = None, *, source: Source = "worker") -> bool:
        """Set a hold; True when it is new or says something new, which is an Event then."""
        return verdicts.hold(self.store, verdict, self.about(run, source))

    def about(self, run: Run | None, source: Source, task: Task | None = None) -> About:
        """Whom a verdict of this process concerns."""
        about = About(self.settings.repo, source, run, clean=lambda text: redact(text, self.secrets))
        return replace(about, task_id=task.task_id, issue_number=task.issue_number) if task else about
