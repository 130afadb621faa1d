"""A world to break out to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.world import World, a_world


@pytest.fixture
def world() -> Iterator[World]:
    # Not below /tmp: inside, that is the run's own, and what is written there has not got out.
    with tempfile.TemporaryDirectory(prefix="agentd-world-", dir="/var/tmp") as folder, a_world(Path(folder)) as made:
        yield made
