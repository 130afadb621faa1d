"""What the supervisor does beside its ticks, and how it waits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.config import Settings
from agentd.run.context import Context
from agentd.store.connection import Store
from agentd.store.ledger import append
from agentd.supervisor.daemon import Stop, _clean_up, _pause, _project
from agentd.supervisor.tick import Memory
from tests.conftest import TurnedClock
from tests.store.test_store import an_event


@pytest.fixture
def context(store: Store, clock: TurnedClock, tmp_path: Path) -> Context:
    values = {"repo": "a/b", "state_dir": tmp_path / "state", "log_dir": tmp_path / "logs"}
    return Context(Settings.model_validate(values), store, cast(Any, None), cast(Any, None), clock, "e", {}, "h")


def test_a_clean_up_that_ends_by_an_error_of_its_own_is_told(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = context.settings.state_dir / "clean-up.lock"
    stamp.touch()
    os.utime(stamp, (0, 0))
    memory = Memory()

    async def act() -> None:
        _clean_up(context, memory, remote=False)
        assert memory.cleaning is not None
        await asyncio.wait({memory.cleaning})

    asyncio.run(act())
    told = capsys.readouterr().err
    assert "agentd: clean-up: an error inside agentd" in told
    assert "AttributeError" in told  # there is no mirror


@pytest.mark.parametrize(("ahead", "acts"), [(-7200, True), (-600, False), (86_400, True)])
def test_a_clean_up_is_not_waited_for_until_a_clock_that_was_set_back_has_come_there_again(
    context: Context, ahead: float, acts: bool
) -> None:
    stamp, memory, at = context.settings.state_dir / "clean-up.lock", Memory(), context.clock.now().timestamp() + ahead
    stamp.touch()
    os.utime(stamp, (at, at))

    async def act() -> None:
        _clean_up(context, memory, remote=False)
        if memory.cleaning is not None:
            await asyncio.wait({memory.cleaning})

    asyncio.run(act())
    assert (memory.cleaning is not None) is acts


def test_files_that_cannot_be_written_are_told_once_and_caught_up(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    file, memory = context.settings.events, Memory()
    for number in (1, 2):
        append(context.store, an_event(context.store, number))
        file.mkdir(parents=True)
        _project(context, memory)
        assert f"agentd: {file} and runs.json are behind" in capsys.readouterr().err
        _project(context, memory)
        assert capsys.readouterr().err == ""
        file.rmdir()
        _project(context, memory)
        assert len(file.read_text().splitlines()) == number
        file.unlink()
    file.mkdir()
    append(context.store, an_event(context.store, 3))
    _project(context, memory)
    file.rmdir()
    file.parent.rmdir()
    file.parent.touch()
    capsys.readouterr()
    _project(context, memory)
    assert "File exists" in capsys.readouterr().err, "another reason"


def test_one_nudge_ends_one_pause_and_a_stop_ends_all() -> None:
    async def act() -> None:
        stop = Stop()
        stop.nudge()
        await _pause(stop, 60)
        began = time.monotonic()
        await _pause(stop, 0.2)
        assert time.monotonic() - began > 0.1
        stop.signal()
        await _pause(stop, 60)
        await _pause(stop, 60)

    asyncio.run(asyncio.wait_for(act(), 30))
