"""A store that cannot be had, being locked or away, and one that is there and does not take what it is given."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text, update

from agentd.clock import SystemClock
from agentd.errors import ConfigurationError, StoreError, StoreRefused
from agentd.model import Decision, Verdict
from agentd.states import RunState
from agentd.store import holds, ledger, runs, schema, verdicts
from agentd.store.connection import Store, open_store
from agentd.store.verification import problems
from tests import postgres
from tests.conftest import TurnedClock
from tests.faults.lines import Line
from tests.store.test_store import a_run, an_event

needs_postgres = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_another_program_has_locked_is_one_line(
    store: Store, tmp_path: Path, clock: TurnedClock, read_only: bool
) -> None:
    store.close()
    other = sqlite3.connect(tmp_path / "state" / "agentd.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"agentd\.db: the store cannot be used: .*lock.*fuser") as caught:
        open_store("", tmp_path / "state", clock, create=not read_only, read_only=read_only, busy_seconds=0.3)
    assert "\n" not in str(caught.value)
    assert 0.3 <= time.monotonic() - began < 20
    other.close()
    open_store("", tmp_path / "state", clock, busy_seconds=0.3).close()


def test_a_lock_that_is_given_back_in_time_is_waited_for(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "state" / "agentd.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, other.rollback).start()
    began = time.monotonic()
    with store.write() as connection:
        connection.execute(text("SELECT 1"))
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("address", ["nonsense", "mysql://a@b/c", "sqlite:///x.db"])
def test_an_address_that_is_none_of_postgresql_names_the_setting(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database_url: must be postgresql"):
        open_store(address, tmp_path, SystemClock())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def remote(address: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Store, Line]]:
    """A store on PostgreSQL behind a line."""
    found = postgres.database(address, request.node.name)
    port = found.rpartition(":")[2].partition("/")[0]
    line = Line(int(port))
    opened = open_store(found.replace(f":{port}/", f":{line.port}/"), tmp_path, SystemClock())
    yield opened, line
    opened.close()


@needs_postgres
def test_a_database_that_comes_back_is_waited_for(remote: tuple[Store, Line]) -> None:
    store, line = remote
    first = store.installation_id()
    line.cut()
    threading.Timer(1.5, line.mend).start()
    began = time.monotonic()
    assert store.installation_id() == first
    assert time.monotonic() - began >= 1


@needs_postgres
def test_a_database_that_stays_away_is_an_error_after_its_time(remote: tuple[Store, Line]) -> None:
    store, line = remote
    line.cut()
    began = time.monotonic()
    with pytest.raises(StoreError, match="check that the database is up") as caught:
        replace(store, open_seconds=1.0).installation_id()
    assert not isinstance(caught.value, StoreRefused)
    assert 0.5 < time.monotonic() - began < 20


@needs_postgres
def test_a_transaction_that_is_broken_half_way_is_not_repeated(remote: tuple[Store, Line]) -> None:
    store, line = remote
    tries = 0
    with pytest.raises(StoreError), store.write() as connection:
        tries += 1
        connection.execute(text("UPDATE meta SET value = 'half' WHERE key = 'installation_id'"))
        line.cut()
        line.mend()
        connection.execute(text("SELECT 1"))
    assert tries == 1
    assert store.installation_id() != "half"


@needs_postgres
def test_a_commit_without_an_answer_is_an_error(remote: tuple[Store, Line]) -> None:
    store, line = remote
    with pytest.raises(StoreError), store.write() as connection:
        connection.execute(text("UPDATE meta SET value = 'half' WHERE key = 'installation_id'"))
        line.cut()
        line.mend()
    assert store.installation_id() != "half"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    is_sqlite = request.param == "sqlite"
    url = "" if is_sqlite else postgres.database(request.getfixturevalue("address"), tmp_path.name)
    opened = open_store(url, tmp_path / "state", SystemClock())
    yield opened
    opened.close()


HOSTILE = "bad \0 thing \ud83d, and a good one: \U0001f600"
KEPT = "bad � thing �, and a good one: \U0001f600"


def test_text_that_no_database_takes_is_kept_with_a_mark_for_each_such_character(either: Store) -> None:
    run = a_run(either, order={"prompt": HOSTILE})
    runs.update_run(either, run.run_id, title=HOSTILE)
    moved = runs.change_state(either, run.run_id, RunState.cancelled, reason=HOSTILE)
    assert (moved.title, moved.reason) == (KEPT, KEPT)
    assert runs.transitions_of(either, run.run_id)[-1]["reason"] == KEPT
    assert [found.run_id for found in runs.runs_of(either, "P0-01")] == [run.run_id]

    verdict = Verdict(control="c", rule_id="r", decision=Decision.hold, scope="P0-01", observed=HOSTILE)
    verdicts.hold(either, verdict, verdicts.About("a/b", "worker"))
    assert holds.holds(either)["P0-01"].observed == KEPT

    ledger.append(either, an_event(either, 1).model_copy(update={"data": {"said": [HOSTILE]}}))
    [event] = ledger.events_of(either, "r")
    assert event.data == {"said": [HOSTILE.replace("\ud83d", "�")]}
    assert list(problems(either)) == []


def _too_large(connection: Connection) -> None:
    connection.execute(update(schema.runs).values(attempt=2**70))


def _too_long_for_its_index(connection: Connection) -> None:
    scope = random.Random(1).randbytes(10_000).hex()
    connection.execute(insert(schema.holds).values(scope=scope, rule_id="r", reason="", since=""))


def _missing(connection: Connection) -> None:
    connection.execute(update(schema.runs).values(branch=None))


def _of_another_type(connection: Connection) -> None:
    connection.execute(update(schema.steps).values(input_tokens=True))


REFUSED = {
    "too large": (_too_large, "sqlite"),
    "too large for PostgreSQL": (_too_large, "postgresql"),
    "too long for its index": (_too_long_for_its_index, "postgresql"),
    "missing": (_missing, "postgresql"),
    "of another type": (_of_another_type, "postgresql"),
}


@pytest.mark.parametrize(("write", "either"), REFUSED.values(), ids=REFUSED, indirect=["either"])
def test_a_value_that_is_refused_is_told_from_a_store_that_is_away(
    either: Store, write: Callable[[Connection], None]
) -> None:
    a_run(either)
    with pytest.raises(StoreRefused, match="the store does not take a value") as caught, either.write() as connection:
        write(connection)
    assert "check that the database is up" not in str(caught.value)
