"""The real agents in a real sandbox, their model on a port of this host, their commands judged by the hook."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentd.agents import AgentEvent, LaunchSpec, Outcome, adapter_of
from agentd.agents.events import ToolResult
from agentd.model import Profile
from agentd.policy.allowlist import CommandRules
from agentd.practice.model import ScriptedModel
from agentd.sandbox.doors import Doors, Reach, open_doors
from agentd.sandbox.launch import Contained, start
from agentd.sandbox.profile import HOME, WORKSPACE, Mount, SandboxSpec
from agentd.sandbox.proxy import Decision
from tests.agents.real import INSTALLED, program

pytestmark = pytest.mark.real_agents

LIMIT_SECONDS = 90.0
DENIED = "echo x > SHELL.txt; curl http://x"
ALLOWED = "echo y > a.txt && cat a.txt | head -n 1"
SCRIPT: list[dict[str, Any]] = [
    {"shell": DENIED},
    {"shell": ALLOWED},
    {"write": {"path": "b.txt", "content": "bee"}},
    {"text": "All done."},
]


def installation(path: str) -> tuple[Mount, ...]:
    """What an installed program needs inside, when it is not below /usr: its folder, and Node's."""
    node = Path(shutil.which("node") or "/usr/bin/node").resolve()
    folders = [INSTALLED.resolve(), node.parent.parent]
    if not Path(path).is_relative_to(INSTALLED):
        pytest.skip(f"{path} is not below {INSTALLED}; run scripts/install-agents")
    return tuple(Mount(folder, str(folder)) for folder in folders if not folder.is_relative_to("/usr"))


@dataclass
class Rig:
    """A workspace and a home outside, for one agent."""

    agent: str
    folder: Path
    model: ScriptedModel
    told: list[Decision] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    async def run(self, rules: CommandRules | None) -> tuple[list[AgentEvent], Outcome]:
        """What the agent did, told to follow SCRIPT."""
        self.model.script("s", SCRIPT)
        port = urlsplit(self.model.url).port
        assert port
        async with open_doors(
            self.folder / "doors", Reach(local=frozenset([port]), rules=rules), self.told.append
        ) as doors:
            return await asyncio.to_thread(self._run, doors)

    def _run(self, doors: Doors) -> tuple[list[AgentEvent], Outcome]:
        base = self.model.base_url("r", "s")
        path = program(self.agent)
        profile = Profile(name="real", adapter=self.agent, command=(path,))
        adapter = adapter_of(profile)
        agentd_env = {
            "PATH": os.environ["PATH"],
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_API_KEY": "k",
            "OPENAI_BASE_URL": f"{base}/v1",
            "OPENAI_API_KEY": "k",
        }
        launch = adapter.launch(
            LaunchSpec(
                prompt="please edit",
                workspace=Path(WORKSPACE),
                home=Path(HOME),
                profile=profile,
                base_env=agentd_env,
                limit_seconds=LIMIT_SECONDS,
                prompt_file=self.folder / "prompt.md",
                found=adapter.probe(path, agentd_env),
                sandboxed=True,
                hook=doors.hook,
            )
        )
        home = self.folder / "home"
        for file, text in launch.files.items():
            place = home / file.relative_to(HOME)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        spec = SandboxSpec(
            self.workspace, home, mounts=(*doors.mounts, *installation(path)), env=launch.env | doors.env
        )
        (self.folder / "prompt").write_bytes(launch.stdin or b"")
        with (self.folder / "prompt").open("rb") as stdin, (self.folder / "err").open("wb") as errors:
            contained: AbstractContextManager[Contained] = start(
                spec, [*doors.prefix, *launch.argv], stdin=stdin, stderr=errors
            )
            with contained as running:
                output = running.process.communicate(timeout=LIMIT_SECONDS)[0]
                status = running.process.returncode
        parser = adapter.parser()
        events = [event for line in output.splitlines() for event in parser.feed(line)]
        return events, parser.close(status, (self.folder / "err").read_text(errors="replace")[-4000:])


@pytest.fixture(params=["claude", "codex"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    program(request.param)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agentd-hooks-") as folder, ScriptedModel() as model:
        made = Rig(request.param, Path(folder), model)
        for name in ("workspace", "home"):
            (made.folder / name).mkdir()
        yield made


async def test_a_command_that_the_policy_refuses_does_not_run_and_the_agent_goes_on(rig: Rig) -> None:
    events, outcome = await rig.run(CommandRules())
    assert (outcome.kind, outcome.message) == ("success", ""), events
    assert not (rig.workspace / "SHELL.txt").exists()
    assert (rig.workspace / "a.txt").read_text() == "y\n"
    assert (rig.workspace / "b.txt").read_text() == "bee"
    [refused] = [decision for decision in rig.told if decision.verdict == "deny"]
    assert (refused.kind, refused.subject) == ("command", DENIED)
    assert "'curl' is not an allowed command" in refused.reason
    assert ALLOWED in [decision.subject for decision in rig.told if decision.verdict == "allow"]
    # The model is told why, and so can do otherwise.
    assert any("'curl' is not an allowed command" in str(request.body) for request in rig.model.requests())


async def test_without_the_hook_it_runs(rig: Rig) -> None:
    events, outcome = await rig.run(None)
    assert outcome.kind == "success", events
    assert (rig.workspace / "SHELL.txt").read_text() == "x\n"
    assert rig.told == []
    assert any(isinstance(event, ToolResult) and not event.ok for event in events)
