"""A mirror for tests of lockfiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.git.mirror import Mirror
from agentd.git.runner import git
from tests.git.lockfiles.world import AUTHOR, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    path = tmp_path / "mirror.git"
    git("init", "--quiet", "--bare", str(path), cwd=tmp_path)
    return World(Mirror(path, "", "", "main", AUTHOR), tmp_path)
