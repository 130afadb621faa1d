"""What `agentd status` shows: stages, ages, money, waits and quotas, from the store alone, in a table or a line."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentd.cli.status import blocks, span
from agentd.cli.tables import Table, plain, rendered
from agentd.config import Settings
from agentd.errors import StoreError
from agentd.model import Decision, Event, Verdict
from agentd.policy.budget_settings import Budgets, Limits
from agentd.policy.budgets import Amount, Meter
from agentd.states import RunState as S
from agentd.store import claims, executors, holds, ledger, spending
from agentd.store.executors import Executor
from agentd.store.ticks import TickNote, last_tick, note_tick
from agentd.views.status import status
from tests.views.conftest import Home

NOW = datetime.now(UTC)


def call(run_id: str, number: int, nano: int | None) -> spending.Call:
    return spending.Call(
        *(f"c{run_id}{number}", "g", run_id, "issue-1", "one", "m", "chat", "u", "2026-01-01", "settled", 200, 0),
        *(900, 100, 0, 0, 0, nano, None if nano is None else nano / 1e9, "", "2026-01-01", None),
    )


def hold(home: Home, scope: str, rule_id: str, minutes: float | None = None) -> None:
    until = datetime.now(UTC) + timedelta(minutes=minutes) if minutes else None
    told: dict[str, Any] = {"decision": Decision.hold, "observed": f"because {scope}", "retry_at": until}
    holds.hold(home.store, Verdict(control="c", rule_id=rule_id, scope=scope, action="wait", **told), lambda _: None)


@pytest.fixture
def busy(home: Home) -> Home:
    """Everything that there can be."""
    first, second = home.run("issue-1", executor="host/1:1:1", title="One"), home.run("issue-2")
    home.move(first, S.preparing, S.syncing, S.running)
    ended = home.run("issue-3")
    home.move(ended, S.preparing, S.failed, reason="no disk")
    event = Event(
        event_id="e1", timestamp=NOW, source="worker", event_type="agent_started", repo="a/b", task_id="issue-1",
        run_id=first, status="ok", data={},
    )  # fmt: skip
    ledger.append(home.store, event)
    with home.store.write() as connection:
        spending.add_calls(home.store, connection, [call(first, 1, 2_000_000_000), call(first, 2, 500_000_000)])
    with spending.Transactions(home.store).transaction() as connection:
        meters = {f"day:{NOW:%Y-%m-%d}": Meter(Amount(3_000_000_000, 2000, 2)), "run:x": Meter(Amount(1, 1, 1))}
        spending.save_meters(home.store, connection, meters)
    hold(home, "issue-3", "backoff", 5)
    hold(home, "pause", "paused")
    hold(home, f"run:{second}", "no_taker")
    claims.acquire(home.store, "issue-1", "me", first, 90.0)
    executors.beat(home.store, Executor("host/1:1:1", "host/1", "0.1.0", "1", 2, ("command x",), leads=True), 90.0)
    note_tick(home.store, TickNote(NOW, NOW + timedelta(minutes=1), 4990, 5000, NOW))
    home.settings = home.settings.model_copy(update={"budgets": Budgets(day=Limits(usd=10))})
    return home


def test_the_view_has_everything(busy: Home) -> None:
    found = status(busy.settings, {})
    assert json.loads(json.dumps(found)) == found
    first, second = found["running"]
    assert (first["state"], first["models"]) == ("running", {"calls": 2, "tokens": 2000, "usd": 2.5})
    assert first["last_event"]["event_type"] == "agent_started"
    assert first["seconds"] >= first["stage_seconds"] >= 0
    assert (second["models"], second["waits_for"][:11]) == (None, "because run")
    assert [hold["scope"] for hold in found["retrying"]] == ["issue-3"]
    assert {hold["scope"] for hold in found["holds"]} >= {"pause", "issue-3"}
    assert found["counts"] == {"running": 1, "queued": 1, "failed": 1}
    assert [run["reason"] for run in found["recent"]] == ["no disk"]
    assert [(row["task_id"], row["seconds_left"] > 80) for row in found["claims"]] == [("issue-1", True)]
    assert found["hosts"][0]["leads"] is True and found["hosts"][0]["seconds_left"] > 80
    assert found["supervisor"]["last_tick"]["requests_left"] == 4990
    [meter] = found["budgets"]["meters"]
    assert (meter["used"]["usd"], meter["limits"]) == (3.0, {"usd": 10.0})


def test_a_call_without_a_price_has_no_dollars(busy: Home) -> None:
    run_id = status(busy.settings, {})["running"][0]["run_id"]
    with busy.store.write() as connection:
        spending.add_calls(busy.store, connection, [call(run_id, 3, None)])
    assert status(busy.settings, {})["running"][0]["models"] == {"calls": 3, "tokens": 3000, "usd": None}


def test_holds_are_those_of_the_store(busy: Home) -> None:
    """Two ways to the same rows: with and without the query builder."""
    found = {hold["scope"]: hold["retry_at"] for hold in status(busy.settings, {})["holds"]}
    assert found == {
        scope: verdict.retry_at.isoformat() if verdict.retry_at else None
        for scope, verdict in holds.holds(busy.store).items()
    }


def test_a_tick_is_noted_and_found_again(home: Home) -> None:
    assert last_tick(home.store) is None
    for note in (TickNote(NOW, NOW), TickNote(NOW, NOW, 1, 2, NOW)):
        note_tick(home.store, note)
        assert last_tick(home.store) == note


def test_the_picture_as_plain_lines(busy: Home) -> None:
    text = plain(blocks(status(busy.settings, {})))
    for expected in (
        "Supervisor: stopped  a/b",
        "GitHub has 4990 of 5000 requests left",
        "Running: 2 of 2",
        "agent_started ok",
        "2.5000",
        "Retrying:",
        "because pause [paused]",
        "-> wait",
        "Budgets (limits refuse):",
        "3 of 10",
        "issue-3  failed  no disk",
    ):
        assert expected in text, text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_picture_fits_a_terminal(busy: Home, width: int) -> None:
    from rich.console import Console

    shown = Console(width=width, force_terminal=True, no_color=True, highlight=False, legacy_windows=False)
    with shown.capture() as captured:
        for block in blocks(status(busy.settings, {})):
            shown.print(rendered(block, width))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()
    assert max(len(line) for line in lines) <= width
    assert "issue-1" in captured.get() and "verifying" not in captured.get()
    assert ("host/1" in captured.get()) is (width == 200)


def test_cells_are_text_and_no_markup(home: Home) -> None:
    from rich.console import Console

    table = Table("T", ("a",), [("[red]x[/red] \x1b[31m",)])
    shown = Console(width=60)
    with shown.capture() as captured:
        shown.print(rendered(table))
    assert "[red]x[/red]" in captured.get() and "\x1b" not in captured.get()
    assert "\x1b" not in plain([table, "\x1b[2J"])


def test_no_secret_is_in_the_view(home: Home) -> None:
    canary = "canary-7f3a9c1e5b2d"
    run_id = home.run("issue-1", title=f"Leak {canary}")
    home.move(run_id, S.preparing, S.failed, reason=f"said {canary} and ghp_0123456789abcdefghijABCDEFGHIJ0123")
    hold(home, f"run:{canary}", "backoff")
    found = status(home.settings, {"SOME_TOKEN": canary})
    text = json.dumps(found) + plain(blocks(found))
    assert "***REDACTED***" in text and canary not in text and "ghp_" not in text


def test_while_the_store_is_made_it_is_empty(home: Home, tmp_path: Path) -> None:
    (tmp_path / "agentd.db").touch()
    found = status(home.settings.model_copy(update={"state_dir": tmp_path}), {})
    assert (found["counts"], found["supervisor"]["last_tick"]) == ({}, None)


def test_before_the_first_start_it_is_empty(home: Home, tmp_path: Any) -> None:
    found = status(Settings(repo="a/b", state_dir=tmp_path / "none"), {})
    assert found["running"] == [] and found["supervisor"]["running"] is False
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("nonsense " * 1000), "damaged"),
        (lambda path: sqlite3.connect(path).execute("DROP TABLE runs").connection.commit(), "cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read_is_one_line(home: Home, spoil: Any, said: str) -> None:
    home.store.close()
    spoil(home.settings.state_dir / "agentd.db")
    with pytest.raises(StoreError, match=said) as caught:
        status(home.settings, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (200_000, "2 d 7 h")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
