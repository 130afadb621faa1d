"""What a sync may meet, as data."""

from __future__ import annotations

from tests.git.corpus import contents, histories, lockfiles, names
from tests.git.corpus.building import Scenario

SCENARIOS: list[Scenario] = [
    *histories.SCENARIOS,
    *contents.SCENARIOS,
    *names.SCENARIOS,
    *lockfiles.SCENARIOS,
]
