"""A copy of a SQLite store elsewhere is another installation; a store that only was renamed is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from agentd.states import RunState
from agentd.store import claims, executors, ledger, place, runs, schema
from agentd.store.connection import Store, bind, open_store, scratch_copy
from agentd.store.executors import Executor
from tests.conftest import TurnedClock
from tests.store.test_store import LEASE, a_run

REPO = "alice/widget"


def bound(folder: Path, clock: TurnedClock) -> Store:
    opened = open_store("", folder, clock)
    bind(opened, REPO)
    return opened


@pytest.fixture
def settled(tmp_path: Path, clock: TurnedClock) -> Path:
    """A state directory with one run under way, that nobody has open."""
    store = bound(tmp_path / "state", clock)
    run = a_run(store)
    runs.change_state(store, run.run_id, RunState.preparing)
    assert claims.acquire(store, run.task_id, "first/host", run.run_id, LEASE)
    executors.beat(store, Executor("host/1:2:3", "host/1", "1.0", "1", 2), LEASE)
    store.close()
    return tmp_path / "state"


def test_what_stays_where_it_is_keeps_its_id_and_its_runs(settled: Path, clock: TurnedClock) -> None:
    store = bound(settled, clock)
    first = store.installation_id()
    store.close()
    renamed = settled.rename(settled.with_name("renamed"))
    store = bound(renamed, clock)
    assert store.installation_id() == first
    assert len(runs.active_runs(store)) == 1
    assert list(ledger.events_after(store, 0)) == []


def test_a_copy_is_another_installation_and_leaves_the_runs_of_the_first(settled: Path, clock: TurnedClock) -> None:
    copied = settled.with_name("copy")
    shutil.copytree(settled, copied)
    first, second = bound(settled, clock), bound(copied, clock)
    assert first.installation_id() != second.installation_id()
    assert [run.state for run in runs.latest_runs(first)] == [RunState.preparing]
    [given_way] = runs.latest_runs(second)
    assert (given_way.state, given_way.reason) == (RunState.cancelled, place.COPIED)
    with second.read() as connection:
        query = select(func.count()).select_from(schema.attempts).where(schema.attempts.c.cleared == 0)
        assert connection.execute(query).scalar_one() == 0
    [event] = ledger.events_of(second, given_way.run_id)
    assert (event.event_type, event.repo, event.data["reason"]) == ("run_failed", REPO, "copied_state")
    assert (claims.list_claims(second), executors.all_executors(second)) == ([], [])
    assert len(claims.list_claims(first)) == len(executors.all_executors(first)) == 1
    again = second.installation_id()
    second.close()
    assert bound(copied, clock).installation_id() == again


def test_another_machine_with_the_same_disk_image_is_another_installation(settled: Path, clock: TurnedClock) -> None:
    store = bound(settled, clock)
    first = store.installation_id()
    assert not place.settle(store, REPO)
    assert place.settle(store, REPO, machine="another")
    assert store.installation_id() != first


def test_a_store_from_before_places_were_known_keeps_its_id(settled: Path, clock: TurnedClock) -> None:
    store = open_store("", settled, clock)
    first = store.installation_id()
    with store.write() as connection:
        connection.execute(delete(schema.meta).where(schema.meta.c.key == "place"))
    store.close()
    assert bound(settled, clock).installation_id() == first
    assert len(runs.active_runs(bound(settled, clock))) == 1


def test_a_dry_run_on_a_copy_sees_itself_as_one_and_writes_nothing(settled: Path, clock: TurnedClock) -> None:
    copied = settled.with_name("copy")
    shutil.copytree(settled, copied)
    real = open_store("", copied, clock, create=False, read_only=True)
    scratch = scratch_copy(real, clock)
    bind(scratch, REPO)
    assert runs.active_runs(scratch) == []
    assert len(runs.active_runs(real)) == 1
    assert scratch.installation_id() != real.installation_id()
