"""Kill -9 at every boundary of a run, restart, compare with a run that was not killed: every boundary, no sample."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from agentd.store import claims, runs
from agentd.store.connection import Store, open_store
from agentd.store.verification import problems
from agentd.supervisor.lead import LEAD
from tests import postgres
from tests.e2e.conftest import FILES, REPO, Installation, environment
from tests.e2e.test_restart import agents
from tests.faults.forks import Servers, fork_servers

MOST_RESTARTS = 4
SERVERS = 2
AGENT = """
import sys
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
open(f"{task}.txt", "w").write("work of " + task)
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Lends one of a few fork servers, so that as many plays go on side by side."""
    with fork_servers(SERVERS) as lend:
        yield lend


@pytest.fixture(scope="module")
def databases(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes a database with the tables in it, of that name, and tells its address."""
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server (Debian: postgresql)")
    folder = tmp_path_factory.mktemp("databases")
    with postgres.server(folder) as address, PracticeGitHub(folder / "github") as hub:
        _people(hub)
        first = installation(hub, folder / "first", AGENT, postgres.database(address, "tables"))
        with servers() as mine:
            mine.once(first, folder / "trace")
        yield lambda name: postgres.database(address, name, template="tables")


def _people(hub: PracticeGitHub) -> None:
    for name in ("alice", "agentd-bot"):
        hub.add_user(name)
    hub.add_repo(REPO, files=FILES)
    hub.grant(REPO, "agentd-bot", "write")


def installation(hub: PracticeGitHub, folder: Path, agent: str, database_url: str) -> Installation:
    folder.mkdir()
    environ = environment(folder, hub, hub.add_token("agentd-bot")) | {"AGENTD_DATABASE_URL": database_url}
    made = Installation(hub, folder, environ)
    made.agent(agent)
    made.configure("max_fix_rounds = 0\n", verify="ls issue-*.txt")
    return made


@contextmanager
def store_of(here: Installation) -> Iterator[Store]:
    state_dir = here.folder / ".agentd" / "state"
    store = open_store(here.environ["AGENTD_DATABASE_URL"], state_dir, SystemClock(), create=False)
    try:
        yield store
    finally:
        store.close()


def end_state(here: Installation, number: int, remote: Path) -> dict[str, Any]:
    """What a stranger can see of a task in the end, without times and ids."""
    pulls = [pull for pull in here.pulls("all") if pull["head"]["ref"] == f"agent/issue-{number}"]
    files = {
        row["filename"].replace(str(number), "N"): row["status"]
        for pull in pulls
        for row in here.get(f"/pulls/{pull['number']}/files")
    }
    refs = git("for-each-ref", "--format=%(refname)", git_dir=remote).splitlines()
    with store_of(here) as store:
        states = [str(run.state) for run in runs.runs_of(store, f"issue-{number}")]
        claimed = [row.claim.task_id for row in claims.list_claims(store) if row.claim.task_id != LEAD]
    mirror = here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"
    saved = git("for-each-ref", "--format=%(refname)", f"refs/agentd/salvage/issue-{number}", git_dir=mirror)
    return {
        "pulls": len(pulls),
        "commits": [len(here.get(f"/pulls/{pull['number']}/commits")) for pull in pulls],
        "files": files,
        "labels": sorted(here.labels(number)),
        "stickies": [body.split("\n")[1] for body in here.stickies(number)],
        "states": states,
        "claims": claimed,
        "claim refs": [ref for ref in refs if ref.startswith("refs/agentd/")],
        "salvaged": len(saved.splitlines()),
        "processes": len(agents(here.folder)),
    }


SCENARIOS = {
    "pull request": (AGENT, {"states": ["in_review"], "pulls": 1}),
    "blocked": ("open('precious.txt', 'w').write('x')", {"states": ["verify_failed"], "pulls": 0, "salvaged": 1}),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_crash_at_any_boundary_ends_like_no_crash(
    database: str,
    scenario: str,
    servers: Servers,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    agent, expected = SCENARIOS[scenario]
    trace = tmp_path / "trace"
    made: Callable[[str], str] = lambda _: ""  # noqa: E731
    if database == "postgresql":
        made = request.getfixturevalue("databases")
    naming = threading.Lock()

    @contextmanager
    def world(name: str) -> Iterator[tuple[Installation, Callable[[], dict[str, Any]]]]:
        """A GitHub with one issue, an installation on it, and what its end state is."""
        with PracticeGitHub(tmp_path / f"github-{name}") as hub:
            _people(hub)
            with naming:
                database_url = made(f"{scenario} {name}")
            here = installation(hub, tmp_path / name, agent, database_url)
            number, remote = here.issue(), tmp_path / f"github-{name}" / "alice" / "widget.git"
            yield here, lambda: end_state(here, number, remote)

    with servers() as mine, world("whole") as (here, ended_as):
        assert mine.once(here, trace, 0) in {0, 1}, (tmp_path / "trace.out").read_text()
        boundaries, wanted = trace.read_text().splitlines(), ended_as()
    assert wanted.items() >= expected.items()
    assert len(boundaries) > 40, boundaries

    def crash(point: int, name: str) -> tuple[str, dict[str, Any]]:
        """What is otherwise in the end after a crash at this boundary."""
        with servers() as mine, world(f"crash-{point}") as (here, ended_as):
            status = mine.once(here, here.folder / "trace", point)
            assert status == -signal.SIGKILL, f"{name}: ended with {status} instead of being killed"
            for _ in range(MOST_RESTARTS):
                mine.once(here, here.folder / "trace")
                found = ended_as()
                if found == wanted:
                    break
            with store_of(here) as store:
                assert list(problems(store)) == []
        return f"{point} {name}", {key: found[key] for key in found if found[key] != wanted[key]}

    with ThreadPoolExecutor(SERVERS) as pool:
        plays = list(pool.map(crash, range(1, len(boundaries) + 1), boundaries))
    wrong = {name: differs for name, differs in plays if differs}
    with capsys.disabled():
        print(f"\n{database}, {scenario}: killed at {len(boundaries)} boundaries, {len(wrong)} ended otherwise")
    assert wrong == {}
