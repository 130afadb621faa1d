"""A fleet on one PostgreSQL: a supervisor and workers with state directories of their own, as on several hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.store.connection import open_store
from agentd.store.ledger import events_after
from tests import postgres
from tests.e2e.conftest import Installation, environment
from tests.e2e.test_restart import agents, wait_for
from tests.faults.freezing import IN_TRANSACTION, POINTS
from tests.faults.lines import Line

pytestmark = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")

LEASE_SECONDS = 3.0
AGENT = """
import sys, time
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
time.sleep({seconds})
open(f"{{task}}.txt", "w").write(task)
"""

CARRIED = ("preparing", "syncing", "running", "verifying", "publishing")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@dataclass
class Fleet:
    """Processes that share a database, each in a home of its own."""

    hub: PracticeGitHub
    folder: Path
    database_url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def home(self, name: str, seconds: float = 0.3, extra: str = "") -> Installation:
        """An installation whose agent works for so long; its settings come from its own agentd.toml."""
        folder = self.folder / name
        folder.mkdir()
        environ = environment(folder, self.hub, self.hub.add_token("agentd-bot"))
        made = Installation(self.hub, folder, environ | {"AGENTD_DATABASE_URL": self.database_url})
        made.agent(AGENT.format(seconds=seconds))
        # One program at the same path everywhere, as `claude` would be.
        command = json.dumps([sys.executable, str(self.folder / "agent.py")])
        (self.folder / "agent.py").write_text(AGENT.format(seconds=seconds))
        (folder / "agentd.toml").write_text(
            f'verify_command = "true"\npoll_interval_seconds = 0.5\nhost_max_parallel = 2\nmax_parallel = 8\n{extra}\n'
            f"[claim]\nlease_seconds = {LEASE_SECONDS}\n"
            f'[profiles.build]\nadapter = "command"\ncommand = {command}\nprompt = "stdin"\n'
        )
        return made

    def start(self, here: Installation, *command: str, module: str = "agentd") -> subprocess.Popen[bytes]:
        """`agentd worker` or `agentd start --foreground`, up when this returns."""
        log = here.folder / "out.log"
        before = len(log.read_bytes()) if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *command],
                cwd=here.folder,
                env=here.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        wait_for(lambda: b" of alice/widget" in log.read_bytes()[before:] or process.poll() is not None, 30)
        wait_for(lambda: str(process.pid) in here.run("workers", "list", "--json"))
        assert process.poll() is None, log.read_text()
        return process

    def behind_lines(self, here: Installation) -> Installation:
        """The installation reaches database and GitHub by nothing but `lines`."""
        for name, url in here.environ.items():
            if url in (self.database_url, self.hub.url):
                port = urlsplit(url).port
                assert port is not None
                self.lines.append(Line(port))
                here.environ[name] = url.replace(f":{port}", f":{self.lines[-1].port}", 1)
        return here

    def worker(self, name: str, **more: Any) -> tuple[Installation, subprocess.Popen[bytes]]:
        here = self.home(name, **more)
        return here, self.start(here, "worker")

    def supervisor(self, name: str = "supervisor", **more: Any) -> tuple[Installation, subprocess.Popen[bytes]]:
        here = self.home(name, **more)
        return here, self.start(here, "start", "--foreground")

    def runs(self, here: Installation) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(here.run("runs", "list", "--json", "--limit", "100"))
        return found

    def place_of(self, here: Installation, process: subprocess.Popen[bytes]) -> str:
        """The place of a process, as `agentd workers list` shows it."""
        rows = json.loads(here.run("workers", "list", "--json"))
        return next(str(row["place"]) for row in rows if f":{process.pid}:" in row["executor"])

    def end(self) -> None:
        for line in self.lines:
            line.mend()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        time.sleep(0.2)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(timeout=40)


@pytest.fixture
def fleet(hub: PracticeGitHub, tmp_path: Path, address: str) -> Iterator[Fleet]:
    folder = tmp_path / "fleet"
    folder.mkdir()
    made = Fleet(hub, folder, postgres.database(address, tmp_path.name))
    try:
        yield made
    finally:
        made.end()


def drain(here: Installation) -> None:
    """Let the only process so far take no runs; a beat later it knows."""
    here.run("workers", "drain", json.loads(here.run("workers", "list", "--json"))[0]["place"])
    wait_for(lambda: json.loads(here.run("workers", "list", "--json"))[0]["closed"])


def done(fleet: Fleet, here: Installation, number: int, seconds: float = 60) -> None:
    """Wait until so many pull requests are open."""
    wait_for(lambda: len(here.pulls()) == number, seconds)


def test_work_is_spread_over_the_hosts_and_no_host_has_more_than_it_may(fleet: Fleet) -> None:
    here, _ = fleet.supervisor(seconds=2.0, extra="")
    fleet.worker("one", seconds=2.0)
    fleet.worker("two", seconds=2.0)
    places = {row["place"] for row in json.loads(here.run("workers", "list", "--json"))}
    assert len(places) == 3
    numbers = [here.issue(f"Task {number}") for number in range(9)]
    most: Counter[str] = Counter()
    until = time.monotonic() + 60
    while len(here.pulls()) < len(numbers) and time.monotonic() < until:
        busy = Counter(run["executor"] for run in fleet.runs(here) if run["state"] in CARRIED)
        most |= busy
    assert len(here.pulls()) == len(numbers)
    assert {executor.partition(":")[0] for executor in most if executor} == places
    assert max(most.values()) <= 2
    assert all(run["attempt"] == 1 for run in fleet.runs(here))


def test_the_runs_of_a_host_that_stays_away_go_on_elsewhere(fleet: Fleet) -> None:
    here, _ = fleet.supervisor(seconds=8.0, extra="")
    drain(here)
    _, worker = fleet.worker("gone", seconds=8.0)
    number = here.issue()
    wait_for(lambda: agents(fleet.folder), 20)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not agents(fleet.folder), 15)
    fleet.worker("other", seconds=8.0)
    done(fleet, here, 1)
    [run] = fleet.runs(here)
    wait_for(lambda: here.labels(number) == {"agent-ready", "status:in-review"})
    assert run["generation"] > 1
    assert run["attempt"] == 1


def working(process: subprocess.Popen[bytes]) -> bool:
    """Whether an agent of this host lives."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any(word.endswith("agent.py") for word in child.cmdline()):
                return True
    return False


def test_a_host_that_no_packet_reaches_gives_way_and_comes_back(fleet: Fleet) -> None:
    here, _ = fleet.supervisor(seconds=15.0)
    drain(here)
    lonely = fleet.start(fleet.behind_lines(fleet.home("lonely", seconds=15.0)), "worker")
    first = here.issue()
    wait_for(lambda: working(lonely), 20)
    for line in fleet.lines:
        line.deaden()
    _, other = fleet.worker("other", seconds=15.0)
    both = False

    def went_on() -> bool:
        nonlocal both
        both = both or (working(other) and working(lonely))
        return here.labels(first) == {"agent-ready", "status:in-review"}

    wait_for(went_on, 90)
    assert not both, "two agents worked on one issue"
    [run] = fleet.runs(here)
    assert (run["state"], run["attempt"]) == ("in_review", 1)
    before = len(fleet.hub.log)
    for line in fleet.lines:
        line.mend()
    here.run("workers", "drain", fleet.place_of(here, other))
    second = here.issue("Second task")
    wait_for(lambda: here.labels(second) == {"agent-ready", "status:in-review"}, 90)
    assert {run["executor"].partition(":")[0] for run in fleet.runs(here)} >= {fleet.place_of(here, lonely)}
    claim = run["task_id"] + "/"
    late = [record for record in fleet.hub.log[before:] if record.headers.get("x-agentd-claim", "").startswith(claim)]
    assert late == [], "the first host wrote about a run that another one has ended"
    assert len(here.pulls("all")) == 2


@pytest.mark.parametrize("point", [*POINTS, IN_TRANSACTION])
def test_a_worker_that_slept_through_its_lease_writes_nothing(fleet: Fleet, tmp_path: Path, point: str) -> None:
    here, _ = fleet.supervisor()
    drain(here)
    flag = tmp_path / "stopped"
    zombie = fleet.start(fleet.home("zombie"), point, str(flag), "worker", module="tests.faults.freezing")
    number = here.issue()
    wait_for(flag.exists, 60)
    fleet.worker("living")
    wait_for(lambda: [run["state"] for run in fleet.runs(here)] == ["in_review"], 90)
    wait_for(lambda: not any(ref.startswith("refs/agentd/") for ref in refs(fleet)), 60)
    stale = {record.headers.get("x-agentd-claim") for record in fleet.hub.log} - {None}
    before = len(fleet.hub.log)
    zombie.send_signal(signal.SIGCONT)
    wait_for(lambda: refusals(here), 60)
    time.sleep(2 * LEASE_SECONDS)
    written = [
        record for record in fleet.hub.log[before:] if record.headers.get("x-agentd-claim", "").startswith("issue")
    ]
    assert written == [], f"written after waking up; generations before: {stale}"
    assert [run["state"] for run in fleet.runs(here)] == ["in_review"]
    assert here.labels(number) == {"agent-ready", "status:in-review"}
    assert len(here.stickies(number)) == 1
    assert len(here.pulls("all")) == 1
    assert zombie.poll() is None, "it goes on as a worker"


def refs(fleet: Fleet) -> list[str]:
    return git(
        "for-each-ref", "--format=%(refname)", git_dir=fleet.hub.world.root / "alice" / "widget.git"
    ).splitlines()


def refusals(here: Installation) -> list[dict[str, Any]]:
    """Events of writes that were refused because the claim was lost."""
    store = open_store(here.environ["AGENTD_DATABASE_URL"], here.folder, SystemClock(), create=False)
    events = [json.loads(body) for _, body in events_after(store, 0)]
    store.close()
    return [event for event in events if event["data"].get("reason") == "claim_lost"]


def test_another_supervisor_leads_when_the_first_is_gone_and_the_first_may_come_back(fleet: Fleet) -> None:
    first, process = fleet.supervisor("first")
    second, _ = fleet.supervisor("second")
    first.issue()
    done(fleet, first, 1)
    os.kill(process.pid, signal.SIGSTOP)
    first.issue("Second task")
    done(fleet, second, 2)
    os.kill(process.pid, signal.SIGCONT)
    first.issue("Third task")
    done(fleet, second, 3)
    leads = [record.headers["x-agentd-claim"] for record in fleet.hub.log if "x-agentd-claim" in record.headers]
    generations = [int(claim.rpartition("/")[2]) for claim in leads if claim.startswith("supervisor/")]
    assert generations == sorted(generations)


def test_a_task_whose_agent_is_on_no_host_is_held_with_the_reason(fleet: Fleet) -> None:
    here, _ = fleet.supervisor(extra="")
    with (here.folder / "agentd.toml").open("a") as file:
        file.write('[profiles.rare]\nadapter = "command"\ncommand = ["/opt/rare-agent"]\n')
    fleet.processes[0].terminate()
    fleet.processes[0].wait()
    fleet.start(here, "start", "--foreground")
    here.issue("Rare", labels=["profile:rare"])
    wait_for(lambda: "no_host" in (here.folder / "out.log").read_text(), 20)
    assert fleet.runs(here) == []
