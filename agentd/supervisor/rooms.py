"""Where there is room: for each living executor the runs it could still take, and the agents that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentd.agents import name_of
from agentd.model import Profile, Run
from agentd.store.connection import Store
from agentd.store.executors import Executor, all_executors


def is_alive(executor: Executor) -> bool:
    """Whether its heartbeat is not overdue."""
    return executor.seconds_left > 0


@dataclass
class Rooms:
    """Free places of the fleet as the supervisor fills them, one tick long."""

    hosts: list[Executor]
    free: dict[str, int]
    """executor -> runs that it could still take"""
    waiting: int
    """runs that are admitted and that nobody has taken yet"""
    slots: int
    """runs that may still be admitted, wherever they are carried"""

    @staticmethod
    def of(store: Store, active: list[Run], max_parallel: int, lives: Callable[[Executor], bool] = is_alive) -> Rooms:
        """What the living executors have left beside the active runs."""
        hosts = [found for found in all_executors(store) if lives(found)]
        busy = [run.executor for run in active]
        free = {host.executor: max(0, host.capacity - busy.count(host.executor)) for host in hosts}
        return Rooms(hosts, free, busy.count(""), max_parallel - len(active))

    def admit(self) -> None:
        """Count a run that is about to be admitted."""
        self.waiting += 1
        self.slots -= 1

    def objection(self, profile: Profile, max_parallel: int) -> tuple[str, str, str] | None:
        """Why no run of the profile can be carried now, as (rule id, observed, what to do); None when one can."""
        if self.slots <= 0:
            return "no_slot", f"{max_parallel} runs at once", "nothing to do, or raise MAX_PARALLEL"
        able = [host for host in self.hosts if name_of(profile) in host.agents]
        if not able:
            missing = f"no host has the agent `{name_of(profile)}` of profile {profile.name!r}"
            return "no_host", missing, "install it where agentd runs, or change the label profile:<name>"
        open_hosts = [host for host in able if not host.closed]
        if not open_hosts:
            told = "; ".join(f"{host.place}: {host.closed}" for host in able)
            return "host_closed", told, "it starts when a host is open again; `agentd doctor` tells what a host needs"
        if sum(self.free[host.executor] for host in open_hosts) <= self.waiting:
            return "hosts_full", "every host that has its agent carries all it may", "nothing to do, or add a host"
        return None
