"""This place as one executor of the fleet: its heartbeat, what it has room and agents for, and the runs it takes up."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from importlib.metadata import version

import psutil

from agentd.agents import adapter_of, executable_of, name_of
from agentd.errors import ConfigurationError
from agentd.model import Decision, Profile, Run, Verdict
from agentd.policy.failures import end_fields
from agentd.run import engine
from agentd.run.context import Context
from agentd.run.desk import Desk, hold_scope, open_desk
from agentd.run.executor import executor_is_dead
from agentd.run.layout import layout_problem
from agentd.run.process import sweep, tree_is_gone
from agentd.run.workflow import CONTRACT_VERSION
from agentd.sandbox.probe import probe
from agentd.states import ACTIVE, RunState
from agentd.store import attempts, claims, executors, holds, runs
from agentd.store.connection import Store
from agentd.store.executors import Executor

BEATS_PER_LEASE = 4
PROBE_AGAIN_SECONDS = 300.0
"""How long it is believed that an agent is installed or is not, and that the sandbox holds or does not."""
MIB = 1 << 20


@dataclass
class Host:
    """What this process remembers of its own place."""

    context: Context
    leads: bool = True
    """whether it may become the supervisor that decides"""
    beat_due: float = 0.0
    drained: bool = False
    """told by an operator to take nothing more"""
    leaving: bool = False
    """told to stop, by a signal"""
    resting: bool = False
    """whether the engine looks for interrupted runs only now and then"""
    probed: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """agents by name: boot time of the probe, and whether it was found"""
    sandbox_probed: tuple[float, str] = (float("-inf"), "")
    """boot time of the last probe of the sandbox, and what is wrong with it"""

    @property
    def capacity(self) -> int:
        settings = self.context.settings
        return settings.host_max_parallel or settings.max_parallel

    def beat(self) -> None:
        """Say in the store that this executor lives, when it is time to. Raises StoreError."""
        context = self.context
        now, lease = context.clock.boottime(), context.settings.claim.lease_seconds
        if now < self.beat_due:
            return
        self.beat_due = now + lease / BEATS_PER_LEASE
        profiles = [*context.settings.profiles.values(), context.settings.profile_named("build")]
        said = executors.beat(
            context.store,
            Executor(
                executor=context.executor,
                place=context.place,
                version=version("agentd"),
                contract=CONTRACT_VERSION,
                capacity=self.capacity,
                agents=tuple(sorted({name_of(profile) for profile in profiles if self.has(profile)})),
                leads=self.leads,
                closed=self.closed(),
            ),
            lease,
        )
        self.drained = said.drain

    def leave(self) -> None:
        """Take nothing more, and let everybody know with the next beat, which is due."""
        self.leaving, self.beat_due = True, 0.0

    def has(self, profile: Profile) -> bool:
        """True when the profile's agent is installed here."""
        name, now = name_of(profile), self.context.clock.boottime()
        at, found = self.probed.get(name, (float("-inf"), False))
        if now - at > PROBE_AGAIN_SECONDS:
            try:
                adapter_of(profile).probe(executable_of(profile), self.context.environ)
                found = True
            except ConfigurationError:
                found = False
            self.probed[name] = now, found
        return found

    def sandbox_problem(self) -> str:
        """Why no run may start in a sandbox here, as it was found lately; empty when it holds."""
        at, problem = self.sandbox_probed
        if self.context.clock.boottime() - at > PROBE_AGAIN_SECONDS:
            found = probe()
            remedy = f" ({found.remedy})" if found.remedy else ""
            problem = "" if found.holds else f"its sandbox does not hold: {'; '.join(found.problems)}{remedy}"
            problem = problem or layout_problem(self.context.settings, self.context.mirror)
            self.sandbox_probed = self.context.clock.boottime(), problem
        return problem

    def closed(self) -> str:
        """Why nothing more may start here, whatever room there is; empty when it may."""
        settings = self.context.settings
        if self.leaving:
            return "it was told to stop, and ends after its runs"
        if self.drained:
            return "it is drained"
        if self.context.settings.sandbox == "required" and (problem := self.sandbox_problem()):
            return problem
        free_mib = psutil.virtual_memory().available // MIB
        if free_mib < settings.host_min_free_mib:
            return f"{free_mib} MiB of memory are free, host_min_free_mib asks for {settings.host_min_free_mib}"
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        if settings.host_max_load and load > settings.host_max_load:
            return f"its load is {load:.1f} for each core, host_max_load allows {settings.host_max_load:g}"
        return ""

    async def go_on(self) -> list[str]:
        """Take up the runs of this place that nobody carries: of an incarnation that is dead, or whose claim was lost.

        The claim of a dead executor is ended only when its process tree is confirmed gone.
        """
        context = self.context
        known = await engine.active()
        taken = []
        for run in runs.unfinished_runs(context.store, known):
            if run.run_id in context.carried:
                continue
            dead = executor_is_dead(run.executor, context.place) and tree_is_gone(context.run_dir(run.run_id))
            if dead:
                sweep(run.run_id)
                claims.expire_holder(context.store, f"{context.store.installation_id()}/{run.executor}")
            if not _can(known, run) or not (dead or run.executor == context.executor):
                continue
            if await self._lacks_sandbox(open_desk(context, run.run_id)):
                continue  # it waits for a host, or this one, to have one
            if dead and not runs.reassign(context.store, run.run_id, run.executor, context.executor):
                continue
            if await self._carry(run):
                taken.append(run.run_id)
        return taken

    async def take(self) -> list[str]:
        """Take runs that nobody has, as far as there is room, oldest first; their ids."""
        context = self.context
        if len(context.carried) >= self.capacity:
            return []
        closed = await asyncio.to_thread(self.closed)
        if closed:
            return []
        known = await engine.active()
        unfinished = runs.unfinished_runs(context.store, known)
        # One whose claim was lost is carried by nobody for a moment, and goes on here at the next look.
        mine = {run.run_id for run in unfinished if run.executor == context.executor}
        room = self.capacity - len(mine | context.carried.keys())
        taken: list[str] = []
        for run in unfinished:
            if run.executor or not _can(known, run) or len(taken) >= room:
                continue
            desk = open_desk(context, run.run_id)
            if not await asyncio.to_thread(self.has, desk.profile) or await self._lacks_sandbox(desk):
                continue
            if runs.reassign(context.store, run.run_id, "", context.executor) and await self._carry(run):
                holds.lift(context.store, hold_scope(run.run_id))
                taken.append(run.run_id)
        return taken

    async def _lacks_sandbox(self, desk: Desk) -> bool:
        if not desk.is_sandboxed:
            return False
        problem = await asyncio.to_thread(self.sandbox_problem)
        return problem != ""

    async def rest(self, resting: bool) -> None:
        """Let the engine rest while nothing is carried, and wake it up again."""
        if resting != self.resting:
            await engine.rest(self.context, resting)
            self.resting = resting

    async def _carry(self, run: Run) -> bool:
        context = self.context
        await self.rest(False)
        context.carried[run.run_id] = context.clock.boottime()
        carried = False
        try:
            carried = await engine.carry(context, run.run_id)
        finally:
            if not carried:
                context.carried.pop(run.run_id, None)
        if not carried:
            _give_up(context, run.run_id)
        return carried


def require_near_versions(store: Store) -> None:
    """Raises ConfigurationError when a living executor's version is more than one minor away from this program's."""
    mine = version("agentd")
    for found in executors.all_executors(store):
        if found.seconds_left > 0 and not _near(mine, found.version):
            raise ConfigurationError(
                f"this is agentd {mine}, and {found.place} runs {found.version}: in a fleet versions may differ by one "
                "minor; upgrade step by step"
            )


def _near(one: str, other: str) -> bool:
    (major, minor), (their_major, their_minor) = ([int(part) for part in v.split(".")[:2]] for v in (one, other))
    return major == their_major and abs(minor - their_minor) <= 1


def _can(known: dict[str, str], run: Run) -> bool:
    """True when this program can go on with the run: it is new, or its workflow is of our version."""
    return known.get(run.run_id, CONTRACT_VERSION) == CONTRACT_VERSION


def _give_up(context: Context, run_id: str) -> None:
    """A run that the engine has ended by an error that no stage expected: it fails, so that it holds no slot."""
    run = runs.get_run(context.store, run_id)
    if run is None or run.state not in ACTIVE:
        return  # it ended between the two looks
    attempts.settle(context.store, run_id, "infrastructure")
    used = attempts.counts(context.store, run.task_id).get("infrastructure", 0)
    last = used >= context.settings.retries.infrastructure
    state = RunState.failed if last else RunState.failed_retry
    reason = "an error inside agentd; the log of the supervisor has it"
    decision = Decision.block if last else Decision.hold
    scope = f"run:{run_id}"
    verdict = Verdict(control="run", rule_id="inner_error", decision=decision, scope=scope, observed=reason)
    context.decided(verdict, run, source="reconciler")
    runs.change_state(context.store, run_id, state, reason=reason, **end_fields("inner_error", used_up=last))
    context.emit("run_failed", run, {"reason": reason}, status="failed", source="reconciler")
