"""A launch of any profile without an agent to run it, and the built-in agent at work."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import Launch, LaunchSpec, adapter_of
from agentd.model import Profile
from agentd.practice.model import ScriptedModel
from tests.agents.builtin_rig import DIALECTS, PERSON, Rig

SPEC = LaunchSpec(
    prompt="fix it",
    workspace=Path("/w"),
    home=Path("/runs/r1/home"),
    profile=Profile(name="p", adapter="command", command=("agent",)),
    base_env={"PATH": "/usr/bin"},
    limit_seconds=600.5,
    prompt_file=Path("/runs/r1/prompt.md"),
)

LaunchOf = Callable[..., Launch]


@pytest.fixture
def launch_of() -> LaunchOf:
    """`launch_of(adapter, base_env, profile fields..., spec=spec fields)` as the adapter would start it."""

    def launch(
        adapter: str, base_env: dict[str, str] | None = None, spec: dict[str, Any] | None = None, **profile: Any
    ) -> Launch:
        needed = {"model": "openai:m"} if adapter == "builtin" else {}
        chosen = Profile(name="p", adapter=adapter, **(needed | profile))
        fields = {**vars(SPEC), "profile": chosen, "base_env": {"PATH": "/usr/bin"} | (base_env or {}), **(spec or {})}
        return adapter_of(chosen).launch(LaunchSpec(**fields))

    return launch


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with ScriptedModel() as model:
        made = Rig(tmp_path, model)
        (tmp_path / "home").mkdir()
        made.workspace.mkdir()
        (made.workspace / "a.txt").write_text("one\ntwo\ntwo\n")
        script = "git init -q && git add . && git commit -qm start"
        subprocess.run(["sh", "-c", script], cwd=made.workspace, env={**os.environ, **PERSON}, check=True)
        yield made


@pytest.fixture(params=DIALECTS)
def either(request: pytest.FixtureRequest, rig: Rig) -> Rig:
    """In each dialect."""
    rig.dialect = request.param
    return rig
