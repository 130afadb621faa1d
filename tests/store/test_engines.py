"""A store that cannot be had: locked by somebody else, or a PostgreSQL that is away for a while."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from agentd.clock import SystemClock
from agentd.errors import ConfigurationError, StoreError
from agentd.store.connection import Store, open_store
from tests import postgres
from tests.conftest import TurnedClock
from tests.faults.lines import Line

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
    with pytest.raises(StoreError, match="check that the database is up"):
        replace(store, open_seconds=1.0).installation_id()
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
