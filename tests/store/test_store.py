"""The store: claims are fenced, attempts counted, the ledger chained, projections repaired, bad files refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from agentd.errors import ClaimLost, StoreError, UndeclaredTransition
from agentd.model import Decision, Event, Run, Verdict
from agentd.states import RunState
from agentd.store import attempts, claims, holds, ledger, runs, spending, steps, verdicts
from agentd.store.connection import Store, open_store, scratch_copy
from tests.conftest import TurnedClock

LEASE = 90.0


def a_run(
    store: Store, run_id: str = "p0-01-1-aaaaaa", task_id: str = "P0-01", order: dict[str, object] | None = None
) -> Run:
    now = store.clock.now()
    with store.write() as connection:
        attempt = attempts.charge(store, connection, task_id, run_id)
        run = Run(
            run_id=run_id,
            task_id=task_id,
            issue_number=1,
            attempt=attempt,
            profile="p@1",
            state=RunState.queued,
            branch=f"agent/{task_id}",
            started_at=now,
            updated_at=now,
        )
        runs.add_run(store, connection, run, order or {"task": 1})
    return run


def an_event(store: Store, number: int) -> Event:
    return Event(
        event_id=f"evt_{number}",
        timestamp=store.clock.now(),
        source="worker",
        event_type="run_failed",
        repo="a/b",
        task_id="P0-01",
        run_id="r",
        status="failed",
        data={"n": number},
    )


def test_a_second_holder_waits_for_the_lease(store: Store, clock: TurnedClock) -> None:
    first = claims.acquire(store, "P0-01", "a", "run-a", LEASE)
    assert first is not None
    assert first.generation == 1
    assert claims.acquire(store, "P0-01", "b", "run-b", LEASE) is None
    clock.pass_seconds(LEASE + 1)
    second = claims.acquire(store, "P0-01", "b", "run-b", LEASE)
    assert second is not None
    assert second.generation == 2
    with pytest.raises(ClaimLost, match="generation 1 is stale"):
        claims.check(store, first)
    with pytest.raises(ClaimLost):
        claims.renew(store, first, LEASE)


def test_renewing_keeps_a_claim_and_silence_loses_it(store: Store, clock: TurnedClock) -> None:
    claim = claims.acquire(store, "P0-01", "a", "run-a", LEASE)
    assert claim is not None
    clock.pass_seconds(LEASE - 1)
    assert claims.renew(store, claim, LEASE) == clock.boottime() + LEASE
    clock.pass_seconds(LEASE - 1)
    claims.check(store, claim)
    clock.pass_seconds(2)
    with pytest.raises(ClaimLost, match="is over"):
        claims.check(store, claim)


def test_the_wall_clock_has_no_say_in_a_lease(store: Store, clock: TurnedClock) -> None:
    claim = claims.acquire(store, "P0-01", "a", "run-a", LEASE)
    assert claim is not None
    clock.wall -= timedelta(hours=1)
    claims.check(store, claim)
    clock.wall += timedelta(hours=5)
    claims.check(store, claim)


def test_a_reboot_ends_every_lease(store: Store, clock: TurnedClock) -> None:
    claims.acquire(store, "P0-01", "a", "run-a", LEASE)
    clock.booted = "boot-2"
    assert claims.acquire(store, "P0-01", "b", "run-b", LEASE) is not None


def test_a_stale_release_and_a_broken_claim(store: Store, clock: TurnedClock) -> None:
    old = claims.acquire(store, "P0-01", "a", "run-a", LEASE)
    assert old is not None
    clock.pass_seconds(LEASE + 1)
    new = claims.acquire(store, "P0-01", "b", "run-b", LEASE)
    assert new is not None
    claims.release(store, old)
    claims.check(store, new)
    assert claims.drop(store, "P0-01")
    with pytest.raises(ClaimLost):
        claims.check(store, new)


def test_a_foreign_claim_must_stand_still_on_our_own_clock(store: Store, clock: TurnedClock) -> None:
    assert claims.unchanged_for(store, "ref", "sha1") == 0
    clock.pass_seconds(50)
    assert claims.unchanged_for(store, "ref", "sha1") == 50
    assert claims.unchanged_for(store, "ref", "sha2") == 0
    clock.booted = "boot-2"
    assert claims.unchanged_for(store, "ref", "sha2") == 0


def test_attempts_are_counted_by_cause_until_a_success(store: Store) -> None:
    for number, cause in enumerate(("agent", "agent", "conflict")):
        run = a_run(store, f"run-{number}")
        assert run.attempt == number + 1
        attempts.settle(store, run.run_id, cause)
    assert attempts.counts(store, "P0-01") == {"agent": 2, "conflict": 1}
    attempts.clear(store, "P0-01")
    assert attempts.counts(store, "P0-01") == {}


@pytest.mark.parametrize(("failures", "seconds"), [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (50, 300)])
def test_backoff_doubles_up_to_five_minutes(failures: int, seconds: float) -> None:
    assert attempts.backoff_seconds(failures) == seconds


def test_a_run_moves_only_by_the_table_and_the_moves_are_kept(store: Store) -> None:
    run = a_run(store)
    runs.change_state(store, run.run_id, RunState.preparing)
    with pytest.raises(UndeclaredTransition):
        runs.change_state(store, run.run_id, RunState.merged)
    ended = runs.change_state(store, run.run_id, RunState.failed, reason="no luck")
    assert (ended.reason, ended.finished_at) == ("no luck", store.clock.now())
    assert [row["after"] for row in runs.transitions_of(store, run.run_id)] == ["queued", "preparing", "failed"]
    assert runs.change_state(store, run.run_id, RunState.failed).state is RunState.failed


def test_a_changed_hold_is_news_and_an_unchanged_one_is_not(store: Store) -> None:
    verdict = Verdict(control="c", rule_id="r", decision=Decision.hold, scope="P0-01", observed="o")
    about = verdicts.About("alice/widget", "supervisor")
    assert verdicts.hold(store, verdict, about)
    assert not verdicts.hold(store, verdict, about)
    assert verdicts.hold(store, verdict.model_copy(update={"observed": "p"}), about)
    told = [json.loads(body)["data"] for _, body in ledger.events_after(store, 0)]
    assert [(each["verdict"], each["rule_id"], each["reason"]) for each in told] == [
        ("hold", "r", "o"),
        ("hold", "r", "p"),
    ]
    assert holds.lift(store, "P0-01")
    assert not holds.lift(store, "P0-01")


def test_a_scratch_copy_takes_changes_that_the_store_never_sees(store: Store) -> None:
    run = a_run(store)
    copy = scratch_copy(store, store.clock)
    runs.change_state(copy, run.run_id, RunState.preparing)
    found = runs.get_run(store, run.run_id)
    assert found is not None
    assert found.state is RunState.queued
    assert copy.installation_id() == store.installation_id()


def test_a_damaged_file_is_one_line_naming_it(tmp_path: Path, clock: TurnedClock) -> None:
    (tmp_path / "agentd.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"agentd\.db.*damaged"):
        open_store("", tmp_path, clock)


def test_a_store_of_a_later_version_is_refused(store: Store, tmp_path: Path, clock: TurnedClock) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE meta SET value = '99' WHERE key = 'schema_version'"))
    store.close()
    with pytest.raises(StoreError, match="99 is newer"):
        open_store("", tmp_path / "state", clock)


def before_version_4(connection: Connection) -> None:
    """Take away what a store of version 3 did not have in its tables."""
    connection.execute(text("ALTER TABLE etags DROP COLUMN at"))
    for column in ("failure_mode", "terminal_reason"):
        connection.execute(text(f"ALTER TABLE runs DROP COLUMN {column}"))


def test_a_store_from_before_the_gateway_gets_its_tables(store: Store, tmp_path: Path, clock: TurnedClock) -> None:
    with store.write() as connection:
        for table in ("gateways", "gateway_keys", "meters", "spend"):
            connection.execute(text(f"DROP TABLE {table}"))
        before_version_4(connection)
        connection.execute(text("UPDATE meta SET value = '2' WHERE key = 'schema_version'"))
    store.close()
    upgraded = open_store("", tmp_path / "state", clock)
    assert (spending.count_calls(upgraded), spending.all_meters(upgraded)) == (0, {})
    upgraded.close()


def test_a_store_from_before_the_steps_gets_them_and_a_ledger_in_order(
    store: Store, tmp_path: Path, clock: TurnedClock
) -> None:
    ledger.append(store, an_event(store, 1))
    with store.write() as connection:
        connection.execute(text("DROP TABLE steps"))
        connection.execute(text("DROP TRIGGER events_in_order"))
        before_version_4(connection)
        connection.execute(text("UPDATE meta SET value = '3' WHERE key = 'schema_version'"))
    store.close()
    upgraded = open_store("", tmp_path / "state", clock)
    assert steps.steps_of(upgraded, "r") == []
    assert a_run(upgraded).terminal_reason == ""
    assert ledger.append(upgraded, an_event(upgraded, 2)) == 2
    with pytest.raises(StoreError, match="behind its last one"), upgraded.write() as connection:
        connection.execute(text("INSERT INTO events VALUES (9, 'evt_9', 'r', 't', '{}', 'p', 'h')"))
    upgraded.close()


def test_a_missing_store_is_said_when_none_may_be_made(tmp_path: Path, clock: TurnedClock) -> None:
    with pytest.raises(StoreError, match="no store yet"):
        open_store("", tmp_path, clock, create=False)
    assert not list(tmp_path.iterdir())


def test_a_hold_lasts_no_longer_than_it_was_set_for_when_the_clock_is_set_back(
    store: Store, clock: TurnedClock
) -> None:
    verdict = Verdict(control="c", rule_id="r", decision=Decision.hold, scope="P0-01", observed="o")

    def left() -> float:
        """Seconds that the hold has left."""
        found = holds.holds(store)["P0-01"].retry_at
        return (found - clock.now()).total_seconds() if found else -1

    for _ in range(2):  # the second time it is the same hold, set anew
        until = verdict.model_copy(update={"retry_at": clock.now() + timedelta(minutes=5)})
        verdicts.hold(store, until, verdicts.About("alice/widget", "supervisor"))
        clock.pass_seconds(240)
        assert left() == 60
        clock.wall -= timedelta(minutes=3)
        assert left() == 240
        clock.wall -= timedelta(hours=1)
        assert left() == 0
        clock.wall += timedelta(hours=2)
        assert left() < 0
