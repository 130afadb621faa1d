"""The chaos run: a fleet on one PostgreSQL whose processes are killed and stopped at random while it works.

`python -m tests.faults.chaos --tasks 200 --workers 4 --seed 1` (scripts/fleet-test) prints a table of figures and ends
0 when each is as it must be. What is judged is in chaos_checks.py, from sources that agentd does not write where there
are any: the agents' own record, the practice GitHub's log, the remote's refs, /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentd.clock import SystemClock
from agentd.practice import PracticeGitHub
from agentd.states import BLOCKED_ENDS, RunState
from agentd.store import runs
from agentd.store.connection import Store, open_store
from tests import postgres
from tests.e2e.conftest import FILES, REPO, Installation, environment
from tests.faults.chaos_hosts import Host, Person, leftovers
from tests.faults.chaos_plan import ChaosTask, draw
from tests.faults.chaos_watch import Watch

LEASE_SECONDS = 3.0
MAX_PARALLEL, HOST_MAX_PARALLEL = 8, 2
AGENT = Path(__file__).with_name("chaos_agent.py")
ROOT = Path(__file__).resolve().parents[2]
SETTLE_SECONDS = 90.0
"""How long the fleet may take, undisturbed, to say its last words once every task has its end."""
STOP_SECONDS = 40.0
END_SECONDS = 30.0
"""How long killed processes may take to be gone."""
ENOUGH_OVERLAPS = 3
"""With so many the negative control has shown what it had to."""


@dataclass(frozen=True)
class Chaos:
    """What is asked of a run."""

    tasks: int = 200
    workers: int = 4
    supervisors: int = 2
    seed: int = 1
    minutes: float = 15.0
    """the most that it may take until every task has its end"""
    protected: bool = True
    long_share: float = 0.08
    """share of agents that work longer than the lease"""
    long_seconds: tuple[float, float] = (4.0, 8.0)
    fault_seconds: tuple[float, float] = (2.0, 3.0)
    """between two faults"""


@dataclass
class Fleet:
    """Everything that one chaos run works with, and what is known of it afterwards."""

    chaos: Chaos
    folder: Path
    hub: PracticeGitHub
    database_url: str
    tasks: list[ChaosTask]
    issues: dict[str, int] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """from the first label to the end of the last task"""
    watch: Watch | None = None

    @property
    def homes(self) -> Path:
        return self.folder / "homes"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def remote(self) -> Path:
        return self.folder / "github" / f"{REPO}.git"

    @property
    def module(self) -> str:
        return "agentd" if self.chaos.protected else "tests.faults.unprotected"

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(self.database_url, self.folder, SystemClock(), create=False)
        try:
            yield store
        finally:
            store.close()

    def ends(self) -> dict[str, RunState]:
        """The state of the newest run of each task."""
        with self.store() as store:
            return {task: run.state for task, run in runs.latest_by_task(store).items()}

    def open_tasks(self) -> set[str]:
        """Tasks that have not come to the end of the plan, or to any other that is final."""
        final = {task for task, state in self.ends().items() if state in BLOCKED_ENDS | {RunState.merged}}
        return {task.task_id for task in self.tasks} - final

    def home(self, name: str, *command: str) -> Host:
        """A host with its settings; its process is not started yet."""
        folder = self.homes / name
        folder.mkdir(parents=True)
        environ = environment(folder, self.hub, self.hub.add_token("agentd-bot")) | {
            "AGENTD_DATABASE_URL": self.database_url,
            "PYTHONPATH": str(ROOT),
            "AGENTD_SANDBOX": "none",  # agents report to the referee through files of the host
        }
        program = json.dumps([sys.executable, "-S", str(AGENT), str(self.records)])
        (folder / "agentd.toml").write_text(
            'verify_command = "true"\npoll_interval_seconds = 0.5\nmax_fix_rounds = 1\n'
            f"max_parallel = {MAX_PARALLEL}\nhost_max_parallel = {HOST_MAX_PARALLEL}\n"
            "[retries]\ninfrastructure = 100\nconflict = 20\n"
            f"[claim]\nlease_seconds = {LEASE_SECONDS}\nremote_lease_seconds = {8 * LEASE_SECONDS}\n"
            f"remote = {str(self.chaos.protected).lower()}\n"
            f'[profiles.build]\nadapter = "command"\ncommand = {program}\nprompt = "stdin"\n'
        )
        (folder / "tasks").mkdir()
        for task in self.tasks:
            (folder / "tasks" / f"{task.task_id}.json").write_text(json.dumps(task.contract()))
        return Host(Installation(self.hub, folder, environ), command)

    def prepare(self) -> None:
        """Plan, issues, hosts."""
        for folder in (self.records / "locks", self.records / "failed"):
            folder.mkdir(parents=True)
        plan = {task.task_id: {"seconds": task.seconds, "kind": task.kind} for task in self.tasks}
        (self.records / "plan.json").write_text(json.dumps(plan))
        for task in self.tasks:
            title = f"[{task.task_id}] Task {task.task_id}"
            labels = ["agent-ready", "status:todo"]
            self.issues[task.task_id] = self.hub.create_issue(REPO, title, "", labels, author="alice")
        for number in range(1, self.chaos.supervisors + 1):
            self.hosts.append(self.home(f"supervisor-{number}", "start", "--foreground"))
        for number in range(1, self.chaos.workers + 1):
            self.hosts.append(self.home(f"worker-{number}", "worker"))

    def disturb(self) -> None:
        """Faults every 2 to 3 seconds until every task has its end, or the time is over."""
        choice = random.Random(self.chaos.seed)
        began = time.monotonic()
        until, fault_at, look_at = began + self.chaos.minutes * 60, began + 8.0, began + 5.0
        while time.monotonic() < until:
            for host in self.hosts:
                host.wake(self.module)
            if time.monotonic() >= fault_at:
                self._strike(choice)
                fault_at = time.monotonic() + choice.uniform(*self.chaos.fault_seconds)
            if time.monotonic() >= look_at:
                if not self.open_tasks() or (not self.chaos.protected and self._overlapped()):
                    break
                look_at = time.monotonic() + 1.0
            time.sleep(0.05)
        self.seconds = time.monotonic() - began

    def settle(self) -> None:
        """Let everybody live on undisturbed until nothing is under way any more, and then end them politely."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            for host in self.hosts:
                host.wakes_at = 0.0
                host.wake(self.module)
            if self._quiet():
                break
            time.sleep(0.5)
        for host in self.hosts:
            host.send(signal.SIGTERM)
        for host in self.hosts:
            if host.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    host.process.wait(STOP_SECONDS)
                    continue
                self.faults["did not stop"] += 1

    def end(self) -> None:
        """Nothing of it may live on, whatever happened."""
        for host in self.hosts:
            host.send(signal.SIGKILL)
            if host.process is not None:
                host.process.wait()
        until = time.monotonic() + END_SECONDS
        while (
            found := leftovers(self.folder)
        ) and time.monotonic() < until:  # one just killed may have started another
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _strike(self, choice: random.Random) -> None:
        able = [host for host in self.hosts if host.process and host.process.poll() is None and not host.stopped]
        if not able:
            return
        host, now = choice.choice(able), time.monotonic()
        who = "supervisor" if host.leads else "worker"
        if choice.random() < 0.6:
            host.send(signal.SIGKILL)
            host.wakes_at = now + choice.uniform(0.3, 4.0)
            self.faults[f"SIGKILL {who}"] += 1
        else:
            host.send(signal.SIGSTOP)
            host.stopped = True
            host.wakes_at = now + choice.uniform(1.2, 4.0) * LEASE_SECONDS
            self.faults[f"SIGSTOP {who}"] += 1

    def _overlapped(self) -> bool:
        record = self.records / "record.jsonl"
        return record.exists() and record.read_text().count("OVERLAP") >= ENOUGH_OVERLAPS

    def _quiet(self) -> bool:
        from tests.faults.chaos_checks import loose_ends  # which needs this module's names

        return not loose_ends(self)


@contextmanager
def run(chaos: Chaos, folder: Path, address: str, name: str = "chaos") -> Iterator[Fleet]:
    """The whole run; inside the `with` it is over and may be judged. `address` is a PostgreSQL server's."""
    tasks = draw(chaos.tasks, chaos.seed, chaos.long_share, chaos.long_seconds)
    with PracticeGitHub(folder / "github") as hub:
        for login in ("alice", "agentd-bot"):
            hub.add_user(login)
        hub.add_repo(REPO, files=FILES)
        hub.grant(REPO, "agentd-bot", "write")
        hub.set_rate_limit(1_000_000)  # two hundred tasks need more than the 5,000 requests of an hour
        fleet = Fleet(chaos, folder, hub, postgres.database(address, name), tasks)
        fleet.prepare()
        open_store(fleet.database_url, folder, SystemClock()).close()
        try:
            with (
                Watch(fleet.records / "record.jsonl", fleet.homes) as fleet.watch,
                Person(hub, fleet.hosts[0].here, chaos.seed + 1),
            ):
                fleet.disturb()
                if chaos.protected:
                    fleet.settle()
            yield fleet
        finally:
            fleet.end()


def unprotected(chaos: Chaos) -> Chaos:
    """The negative control of a run: lease and guardian off, and agents long enough to be met by the next ones."""
    return replace(chaos, protected=False, long_share=1.0, long_seconds=(20.0, 30.0), fault_seconds=(4.0, 6.0))


def main() -> int:
    from tests.faults.chaos_checks import check, keep_evidence, table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--supervisors", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0, help="the most that the work may take")
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a temporary folder)")
    parser.add_argument("--without-protection", action="store_true", help="no lease, no guardian: must report overlaps")
    asked = parser.parse_args()
    chaos = Chaos(asked.tasks, asked.workers, asked.supervisors, asked.seed, asked.minutes)
    if asked.without_protection:
        chaos = unprotected(chaos)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="agentd-chaos-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    with postgres.server(folder) as address, run(chaos, folder, address) as fleet:
        figures = check(fleet)
        print(table(fleet, figures), flush=True)
        if not all(figure.ok for figure in figures):
            keep_evidence(fleet)
    good = all(figure.ok for figure in figures)
    print("all as it must be" if good else f"wrong; everything is kept in {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
