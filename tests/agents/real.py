"""The real agent programs, each with the profile that the documentation gives, at work for the practice model."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentd.agents import AgentEvent, LaunchSpec, Outcome, adapter_of, executable_of
from agentd.model import Profile
from agentd.practice.model import ScriptedModel
from agentd.run.process import RUN_VARIABLE, Ended, Program, guard, output_of

ROOT = Path(__file__).parents[2]
INSTALLED = Path(os.environ.get("AGENTD_AGENTS_DIR", ROOT / ".agents"))
PAGE = ROOT / "docs" / "how-to" / "agents.md"
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")
LIMIT_SECONDS = 120.0
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
RECIPES = {"dcode": "deepagents"}
"""What scripts/install-agents calls a program where the names differ."""


def documented(name: str) -> dict[str, Any]:
    """A profile as docs/how-to/agents.md has it."""
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = next(
        profiles[name] for block in blocks if name in (profiles := tomllib.loads(block)["profiles"])
    )
    return found


PROFILES: dict[str, dict[str, Any]] = {
    "claude": {"adapter": "claude"},
    "codex": {"adapter": "codex"},
    "codex-asking": documented("codex-asking"),
    "opencode": documented("opencode"),
    "opencode-acp": documented("opencode-acp"),
    "deepagents": {"adapter": "deepagents", "model": "openai:gpt-5"},
    "dcode-acp": documented("dcode-acp"),
    "pi": documented("pi"),
    "mini": documented("mini"),
}
PROGRAMS = {"codex-asking": "codex", "opencode-acp": "opencode", "deepagents": "dcode", "dcode-acp": "dcode"}
AGENTS = tuple(PROFILES)


def program(agent: str) -> str:
    """The agent's program; the test is skipped where it is not installed."""
    name = PROGRAMS.get(agent, agent)
    found = shutil.which(name, path=f"{INSTALLED / 'bin'}:{os.environ.get('PATH', '')}")
    if not found:
        pytest.skip(f"{name} is not installed; run scripts/install-agents {RECIPES.get(name, name)}")
    return found


def profile_of(agent: str, **fields: Any) -> Profile:
    """The agent's profile, its program by whole path; `env` and `files` are added, `command` stands at the end."""
    chosen = dict(PROFILES[agent])
    _, *rest = chosen.get("command") or (agent,)
    env = {**chosen.pop("env", {}), **fields.pop("env", {})}
    files = {**chosen.pop("files", {}), **fields.pop("files", {})}
    command = (program(agent), *rest, *fields.pop("command", ()))
    return Profile(name=agent, **{**chosen, **fields, "env": env, "files": files, "command": command})


def endpoint(base: str) -> dict[str, str]:
    """agentd's environment for a model at that address, and a proxy that nobody may use for it."""
    return {
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": "k",
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": "k",
        **dict.fromkeys(PROXIES, DEAD_PROXY),
    }


@dataclass(frozen=True)
class Ran:
    """How one run of an agent went."""

    events: list[AgentEvent]
    outcome: Outcome
    ended: Ended
    output: bytes
    log: str
    left: list[str]
    """command lines of processes of it that still lived after its end"""


@dataclass(frozen=True)
class Rig:
    """A workspace, a home and a model for one agent."""

    agent: str
    folder: Path
    model: ScriptedModel
    counted: list[int] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(self, script: list[dict[str, Any]], **how: Any) -> tuple[list[AgentEvent], Outcome]:
        """Probe, launch and parse; `script` is what the model does."""
        ran = asyncio.run(self.ran(script, **how))
        assert ran.ended.ended == "exited", ran.log[-2000:]
        return ran.events, ran.outcome

    async def ran(
        self,
        script: list[dict[str, Any]],
        prompt: str = "please edit",
        resume: str | None = None,
        limit_seconds: float = LIMIT_SECONDS,
        silence_seconds: float = 0.0,
        hook: tuple[str, ...] = (),
        **fields: Any,
    ) -> Ran:
        """The same under the guardian, with limits; whatever comes of it is told."""
        self.counted.append(1)
        run = f"{self.folder.name}-{len(self.counted)}"
        self.model.script(run, [_last(self.agent, step) for step in script])
        environ = {**os.environ, **endpoint(self.model.base_url(run, run))}
        profile = profile_of(self.agent, **fields)
        adapter = adapter_of(profile)
        found = await asyncio.to_thread(adapter.probe, executable_of(profile), environ)
        spec = LaunchSpec(
            prompt=prompt,
            workspace=self.workspace,
            home=self.folder / "home",
            profile=profile,
            base_env=environ,
            limit_seconds=limit_seconds,
            prompt_file=self.folder / "prompt.md",
            resume=resume,
            found=found,
            hook=hook,
        )
        launch = adapter.launch(spec)
        for path, text in launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        started = Program(
            "agent",
            launch.argv,
            launch.env,
            self.workspace,
            limit_seconds,
            64 << 20,
            launch.stdin,
            grace_seconds=1.0,
            startup_seconds=limit_seconds,
            silence_seconds=silence_seconds,
        )
        run_dir = self.folder / run
        forever = time.clock_gettime(time.CLOCK_BOOTTIME) + 10_000
        ended = await guard(started, run_dir, self.folder / f"{run}.log", lambda: forever, lambda: None)
        output, log = output_of(run_dir, "agent").read_bytes(), (self.folder / f"{run}.log").read_text(errors="replace")
        parser = adapter.parser()
        events = [event for line in output.splitlines() for event in parser.feed(line)]
        return Ran(events, parser.close(ended.exit_status, log[-8000:]), ended, output, log, left_running(run))

    def requests(self, run: int = -1) -> list[Any]:
        """What the model was asked in one of the runs, by default the last."""
        number = run if run > 0 else len(self.counted)
        return self.model.requests(f"{self.folder.name}-{number}")


def _last(agent: str, step: dict[str, Any]) -> dict[str, Any]:
    """mini-swe-agent ends by a command, not by words."""
    return {"shell": SUBMIT} if agent == "mini" and "text" in step else step


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder that is not in /tmp: codex keeps no helper programs there, and policies let agents write there."""
    with tempfile.TemporaryDirectory(prefix="agentd-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def make_rig(agent: str, folder: Path, model: ScriptedModel) -> Rig:
    """A rig in an empty folder, see `new_folder`."""
    program(agent)
    rig = Rig(agent, folder, model)
    (rig.folder / "home").mkdir()
    subprocess.run(["git", "init", "--quiet", str(rig.workspace)], check=True)
    return rig


def left_running(run_id: str) -> list[str]:
    """Command lines of processes that carry the run's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_VARIABLE) == run_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
