"""The chaos run with a few tasks, and the proof that its checker objects when nothing protects them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.faults.chaos import Chaos, run, unprotected
from tests.faults.chaos_checks import check, table
from tests.faults.chaos_hosts import leftovers

pytestmark = pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server (Debian: postgresql)")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.mark.timeout(500)
def test_a_fleet_that_is_killed_and_stopped_at_random_loses_nothing_and_does_nothing_twice(
    address: str, tmp_path: Path
) -> None:
    chaos = Chaos(tasks=24, workers=3, seed=7, minutes=5)
    with run(chaos, tmp_path, address, "protected") as fleet:
        figures = check(fleet)
    assert [figure for figure in figures if not figure.ok] == [], table(fleet, figures)
    assert sum(fleet.faults.values()) >= 5
    assert leftovers(tmp_path) == []


@pytest.mark.timeout(500)
def test_the_checker_reports_overlaps_when_lease_and_guardian_are_switched_off(address: str, tmp_path: Path) -> None:
    overlaps = []
    for seed in (7, 8, 9):  # whether two meet in so short a time is chance
        chaos = unprotected(Chaos(tasks=20, workers=3, seed=seed, minutes=0.8))
        with run(chaos, tmp_path / str(seed), address, f"unprotected{seed}") as fleet:
            found = [figure for figure in check(fleet) if figure.name.startswith("two agents at once")]
        assert leftovers(tmp_path) == []
        overlaps += [figure for figure in found if not figure.ok]
        if overlaps:
            break
    assert overlaps and overlaps[0].evidence[0]
