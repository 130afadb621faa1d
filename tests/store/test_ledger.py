"""The ledger: it takes rows only behind its last one, commits together what comes together, and names what was changed.

The last part is tried on both databases.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from time import sleep

import pytest
from sqlalchemy import Connection, text

from agentd.errors import StoreError
from agentd.model import Event
from agentd.store import ledger, schema
from agentd.store.connection import Store, open_store
from agentd.store.ledger import link
from agentd.store.verification import Signed, problems
from tests import postgres
from tests.conftest import TurnedClock
from tests.store.test_store import an_event

ROWS = 9
NUMBERS = count()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: TurnedClock) -> Iterator[Store]:
    """A store on each database."""
    url = ""
    if request.param == "postgresql":
        url = postgres.database(request.getfixturevalue("address"), f"ledger-{next(NUMBERS)}")
    opened = open_store(url, tmp_path / "either", clock)
    yield opened
    opened.close()


def unprotected(connection: Connection) -> None:
    """Take the triggers away, as somebody with the file in his hands can."""
    if connection.dialect.name == "sqlite":
        for name in ("events_no_update", "events_no_delete", "events_in_order"):
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
    else:
        for name in ("events_append_only", "events_in_order"):
            connection.exec_driver_sql(f"DROP TRIGGER {name} ON events")


def a_row(seq: int, prev: str, event: Event) -> dict[str, object]:
    body = ledger.body_of(event)
    row = {"seq": seq, "event_id": event.event_id, "run_id": event.run_id, "task_id": event.task_id}
    return {**row, "body": body, "prev": prev, "hash": link(seq, prev, body)}


def inserted(connection: Connection, seq: int, event: Event) -> None:
    """A forged row behind `seq`, with a hash that fits; the rows behind it get the next numbers."""
    connection.execute(text(f"UPDATE events SET seq = -seq - 1 WHERE seq > {seq}"))
    connection.execute(text("UPDATE events SET seq = -seq WHERE seq < 0"))
    prev = connection.execute(text(f"SELECT hash FROM events WHERE seq = {seq}")).scalar_one()
    connection.execute(schema.events.insert().values(**a_row(seq + 1, prev, event)))


def written_anew(connection: Connection, seq: int, old: str, new: str) -> None:
    """A changed row, and every hash from there on made again: whole in itself."""
    rows = connection.execute(text("SELECT seq, body, prev FROM events ORDER BY seq")).all()
    prev = schema.GENESIS
    for number, body, _ in rows:
        body = body.replace(old, new) if number == seq else body
        made = link(number, prev, body)
        values = {"b": body, "p": prev, "h": made, "s": number}
        connection.execute(text("UPDATE events SET body = :b, prev = :p, hash = :h WHERE seq = :s"), values)
        prev = made


def swap(connection: Connection, one: int, two: int) -> None:
    for before, after in ((one, -1), (two, one), (-1, two)):
        connection.execute(text(f"UPDATE events SET seq = {after} WHERE seq = {before}"))


CHANGE = "UPDATE events SET body = replace(body, 'run_failed', 'pr_opened') WHERE seq = "
TAMPERED: dict[str, tuple[Callable[[Connection, Store], object], list[str]]] = {
    "nothing": (lambda c, s: None, []),
    "a row changed": (lambda c, s: c.execute(text(CHANGE + "3")), ["sequence 3: changed"]),
    "its hash made anew too": (
        lambda c, s: c.execute(
            text("UPDATE events SET body = :body, hash = :hash WHERE seq = 3"),
            {
                "body": (forged := a_row(3, c.execute(text("SELECT prev FROM events WHERE seq=3")).scalar_one(), x(s)))[
                    "body"
                ],
                "hash": forged["hash"],
            },
        ),
        [
            "sequence 3: changed or inserted; sequence 4 was written behind another row",
            "sequence 3: changed; its columns say something else than its text",
        ],
    ),
    "a column changed": (
        lambda c, s: c.execute(text("UPDATE events SET run_id = 'other' WHERE seq = 4")),
        ["sequence 4: changed; its columns say something else than its text"],
    ),
    "a row removed": (lambda c, s: c.execute(text("DELETE FROM events WHERE seq = 5")), ["sequence 5: removed"]),
    "rows removed": (
        lambda c, s: c.execute(text("DELETE FROM events WHERE seq IN (1, 2, 5, 6)")),
        ["sequences 1 to 2: removed", "sequences 5 to 6: removed"],
    ),
    "a row removed and the others moved up": (
        lambda c, s: [
            c.execute(text("DELETE FROM events WHERE seq = 5")),
            c.execute(text("UPDATE events SET seq = -seq + 1 WHERE seq > 5")),
            c.execute(text("UPDATE events SET seq = -seq WHERE seq < 0")),
        ],
        ["sequences 5 to 8: moved up by 1; a row was removed before them"],
    ),
    "rows reordered": (
        lambda c, s: swap(c, 3, 7),
        ["sequence 3: holds the row of sequence 7 (reordered)", "sequence 7: holds the row of sequence 3 (reordered)"],
    ),
    "a row inserted": (
        lambda c, s: inserted(c, 4, x(s)),
        ["sequences 6 to 10: moved on by 1; a row was inserted before them"],
    ),
    "a row inserted before the first": (
        lambda c, s: c.execute(schema.events.insert().values(**a_row(0, schema.GENESIS, x(s)))),
        ["sequence 0: inserted before the first row"],
    ),
}


def x(store: Store) -> Event:
    """An event that never happened."""
    return an_event(store, 666).model_copy(update={"event_type": "pr_opened"})


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_changed_by_hand_is_named_by_its_sequence(either: Store, how: str) -> None:
    for number in range(ROWS):
        ledger.append(either, an_event(either, number))
    change, expected = TAMPERED[how]
    with either.write() as connection:
        unprotected(connection)
        change(connection, either)
    assert list(problems(either)) == expected


def test_what_only_a_checkpoint_can_tell(store: Store) -> None:
    for number in range(ROWS):
        ledger.append(store, an_event(store, number))
    signed = [Signed(*ledger.last_row(store), " of noon")]
    with store.read() as connection:
        middle = connection.execute(text("SELECT hash FROM events WHERE seq = 4")).scalar_one()
    signed.append(Signed(4, middle))
    assert list(problems(store, signed)) == []
    with store.write() as connection:
        unprotected(connection)
        written_anew(connection, 5, "run_failed", "pr_opened")
    assert list(problems(store)) == []
    anew = "sequence 9: the ledger was written anew up to here since the checkpoint of noon"
    assert list(problems(store, signed)) == [anew]
    with store.write() as connection:
        connection.execute(text("DELETE FROM events WHERE seq > 4"))
    assert list(problems(store)) == []
    cut = "sequences 5 to 9: cut off at the end; a checkpoint of noon has signed them"
    assert list(problems(store, signed)) == [cut]


REFUSED = {
    "UPDATE events SET body = 'x' WHERE seq = 3": "append-only",
    "DELETE FROM events WHERE seq = 3": "append-only",
    "INSERT INTO events SELECT 99, 'evt_x', run_id, task_id, body, hash, hash FROM events WHERE seq = 9": "behind its",
    "INSERT INTO events SELECT 10, 'evt_x', run_id, task_id, body, prev, hash FROM events WHERE seq = 9": "behind its",
    "INSERT INTO events SELECT 5, 'evt_x', run_id, task_id, body, prev, hash FROM events WHERE seq = 5": "behind its",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_the_database_itself_refuses_all_but_a_row_behind_the_last(either: Store, statement: str) -> None:
    for number in range(ROWS):
        ledger.append(either, an_event(either, number))
    with pytest.raises(StoreError, match=REFUSED[statement]), either.write() as connection:
        connection.exec_driver_sql(statement)
    replaced = statement.replace("INSERT INTO", "INSERT OR REPLACE INTO")
    if either.is_sqlite and replaced != statement:
        with pytest.raises(StoreError), either.write() as connection:
            connection.exec_driver_sql(replaced)
    assert list(problems(either)) == []
    assert ledger.append(either, an_event(either, ROWS)) == ROWS + 1


def test_threads_are_committed_together_and_each_learns_its_own_number(either: Store, clock: TurnedClock) -> None:
    def write(writer: int) -> list[tuple[int, str]]:
        events = [an_event(either, 100 * writer + number) for number in range(10)]
        return [(ledger.append(either, event), event.event_id) for event in events]

    with ThreadPoolExecutor(16) as pool:
        told = [pair for pairs in pool.map(write, range(16)) for pair in pairs]
    assert sorted(seq for seq, _ in told) == list(range(1, 161))
    with either.read() as connection:
        kept = {(row.seq, row.event_id) for row in connection.execute(text("SELECT seq, event_id FROM events"))}
    assert kept == set(told)
    assert list(problems(either)) == []


def test_one_bad_event_does_not_harm_those_beside_it(store: Store) -> None:
    ledger.append(store, an_event(store, 0))

    def write(number: int) -> int | str:
        try:
            return ledger.append(store, an_event(store, number))
        except StoreError as error:
            return str(error)

    with ThreadPoolExecutor(12) as pool:
        with store.write():  # so that all but the first wait for one commit
            first = pool.submit(write, 1)
            sleep(0.1)
            others = [pool.submit(write, number) for number in (2, 0, 3, 4, 5)]
            sleep(0.1)
        told = [each.result() for each in others]
    assert first.result() == 2
    assert "UNIQUE" in str(told.pop(1))
    assert sorted(map(int, told)) == [3, 4, 5, 6]


def test_a_clock_that_jumps_changes_no_order(store: Store, clock: TurnedClock) -> None:
    for number in range(4):
        ledger.append(store, an_event(store, number))
        clock.pass_seconds(-3600 if number % 2 else 10)
    assert [event.data["n"] for event in ledger.events_of(store, "r")] == [0, 1, 2, 3]
    assert list(problems(store)) == []


def test_an_event_of_a_later_version_is_named_and_not_misread(store: Store, tmp_path: Path) -> None:
    ledger.append(store, an_event(store, 1))
    body = ledger.body_of(an_event(store, 2)).replace('"schema_version":1', '"schema_version":2')
    prev = ledger.last_row(store)[1]
    with sqlite3.connect(tmp_path / "state" / "agentd.db") as file:
        row = (2, "evt_2", "r", "P0-01", body, prev, link(2, prev, body))
        file.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    assert list(problems(store)) == []
    with pytest.raises(StoreError, match="sequence 2: an event of schema version 2"):
        ledger.events_of(store, "r")
