"""The same program on PostgreSQL: the main path, a killed supervisor, and the ledger's protection."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from agentd.clock import SystemClock
from agentd.errors import ClaimLost, StoreError
from agentd.store import claims, ledger
from agentd.store.connection import open_store
from agentd.store.engines import OPEN_SECONDS
from agentd.store.verification import problems
from tests import postgres
from tests.e2e.conftest import Installation
from tests.e2e.test_restart import agents, in_review, started, supervisor, wait_for

pytestmark = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def here(here: Installation, address: str, request: pytest.FixtureRequest) -> Installation:
    here.environ["AGENTD_DATABASE_URL"] = postgres.database(address, request.node.name)
    return here


def test_main_path(here: Installation) -> None:
    number = here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"
    assert here.labels(number) == {"agent-ready", "status:in-review"}
    assert not list((here.folder / ".agentd" / "state").glob("*.db"))
    assert here.status()["counts"] == {"in_review": 1}


def test_killed_supervisor(here: Installation) -> None:
    started(here)
    os.kill(supervisor(here), signal.SIGKILL)
    wait_for(lambda: not agents(here.folder), 15)
    here.run("start")
    try:
        in_review(here)
    finally:
        here.run("stop")


def test_store(address: str, tmp_path: Path) -> None:
    store = open_store(postgres.database(address, "test_store"), tmp_path, SystemClock())
    first = claims.acquire(store, "P0-01", "a", "run-a", lease_seconds=2)
    assert first is not None
    assert claims.acquire(store, "P0-01", "b", "run-b", lease_seconds=60) is None
    wait_for(lambda: claims.acquire(store, "P0-01", "b", "run-b", lease_seconds=60))
    with pytest.raises(ClaimLost, match="generation 1 is stale"):
        claims.check(store, first)
    from tests.store.test_store import an_event

    for number in range(3):
        ledger.append(store, an_event(store, number))
    assert list(problems(store)) == []
    for statement in ("UPDATE events SET body = 'x'", "DELETE FROM events"):
        with pytest.raises(StoreError, match="append-only"), store.write() as connection:
            connection.execute(text(statement))
    store.close()


def test_gone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check that the database is up") as caught:
        open_store("postgresql+psycopg://agentd:secret@127.0.0.1:1/x", tmp_path, SystemClock())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("lease_seconds", "gone_seconds", "generations"), [(12, 4, {1}), (3, 7, {2, 3})])
def test_a_database_that_goes_and_comes_back(
    here: Installation, tmp_path: Path, lease_seconds: int, gone_seconds: int, generations: set[int]
) -> None:
    """Within the lease nobody notices; beyond it the agent is ended in time, and the run is taken up again."""
    with postgres.running(tmp_path) as server:
        here.environ["AGENTD_DATABASE_URL"] = server.address
        here.agent("import time; time.sleep(9); open('done.txt', 'w').write('done')")
        here.configure(f"poll_interval_seconds = 1\n[claim]\nlease_seconds = {lease_seconds}\n")
        number = here.issue()
        here.run("start")
        try:
            wait_for(lambda: agents(here.folder), 20)
            server.stop()
            time.sleep(gone_seconds)
            if gone_seconds > lease_seconds:
                assert agents(here.folder) == []
            server.start()
            wait_for(lambda: here.labels(number) == {"agent-ready", "status:in-review"}, 60)
            [run] = json.loads(here.run("runs", "list", "--json"))
        finally:
            here.run("stop")
    assert run["attempt"] == 1
    assert run["generation"] in generations
    assert len(here.stickies(number)) == 1
    assert len((here.folder / ".agentd" / "logs" / "supervisor.log").read_text().splitlines()) < 40


def test_a_database_that_goes_while_the_supervisor_drains_ends_no_run(here: Installation, tmp_path: Path) -> None:
    with postgres.running(tmp_path) as server:
        here.environ["AGENTD_DATABASE_URL"] = server.address
        here.agent("import time; time.sleep(9); open('done.txt', 'w').write('done')")
        here.configure("poll_interval_seconds = 1\n")
        number = here.issue()
        here.run("start")
        pid = supervisor(here)
        wait_for(lambda: agents(here.folder), 20)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: here.status()["supervisor"]["drains"])
        server.stop()
        time.sleep(OPEN_SECONDS + 3)  # so long it is asked again before it counts as gone
        server.start()
        wait_for(lambda: not psutil.pid_exists(pid), 60)
        assert here.labels(number) == {"agent-ready", "status:in-review"}
        [run] = json.loads(here.run("runs", "list", "--json"))
    assert run["generation"] == 1
    log = here.folder / ".agentd" / "logs" / "supervisor.log"
    assert len(log.read_text().splitlines()) < 20, "it asked without a pause"


def test_an_agent_that_says_what_no_database_takes_fails_with_its_words(here: Installation) -> None:
    here.agent("import sys; print('a \\0'); sys.stderr.write('bad object \\0'); sys.exit(3)")
    number = here.issue()
    [run] = json.loads(here.run("once", "--json", check=1, timeout=60))["runs"]
    assert run["state"] == "failed_retry"
    assert "the agent failed: exit status 3: bad object �" in run["reason"]
    assert "status:todo" in here.labels(number)


REFUSING = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'no such word' USING ERRCODE = 'data_exception'; END $$",
    "CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN ({}) EXECUTE FUNCTION refuse()",
)
WHEN = {
    "its end": ("NEW.reason LIKE '%unspeakable%'", "the store does not take a value: no such word", {"kept.txt"}),
    "its begin": ("NEW.generation > OLD.generation", "an error inside agentd", set()),
}


@pytest.mark.parametrize("what", WHEN)
def test_a_run_of_which_the_store_refuses_a_value_ends(here: Installation, tmp_path: Path, what: str) -> None:
    when, told, saved = WHEN[what]
    store = open_store(here.environ["AGENTD_DATABASE_URL"], tmp_path, SystemClock())
    with store.write() as connection:
        for statement in REFUSING:
            connection.execute(text(statement.format(when)))
    store.close()
    here.agent("import sys; open('kept.txt', 'w').write('work'); sys.exit('unspeakable')")
    number = here.issue()
    here.run("once", check=1, timeout=60)
    [run] = json.loads(here.run("runs", "list", "--json"))
    assert run["state"] == "failed_retry"
    assert told in run["reason"]
    assert {path for each in json.loads(here.run("salvage", "list", "--json")) for path in each["changed"]} == saved
    assert "status:todo" in here.labels(number)
