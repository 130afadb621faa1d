"""The built-in agent with a workspace, a home and the practice model, started as its adapter starts it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentd.agents import AgentEvent, LaunchSpec, Outcome, adapter_of, executable_of
from agentd.agents.events import Raw
from agentd.model import Profile
from agentd.practice.model import ScriptedModel

DIALECTS = {"messages": "anthropic:practice", "chat": "openai:practice"}
PATHS = {"messages": "messages", "chat": "chat/completions"}
LIMIT_SECONDS = 60.0
PERSON = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def call(name: str, **given: Any) -> dict[str, Any]:
    """A step in which the model uses that very tool."""
    return {"call": {"name": name, "input": given}}


REPORT = call("report", summary="All done.", files_changed=["a.txt"], commands_verified=["true"])


@dataclass
class Rig:
    """A workspace, a home and a model."""

    folder: Path
    model: ScriptedModel
    dialect: str = "messages"
    hook: tuple[str, ...] = ()
    lines: tuple[Mapping[str, Any], ...] = ()
    """what the last run printed"""
    exit_status: int = 0

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(
        self, script: list[dict[str, Any]], prompt: str = "please edit", resume: str | None = None, **profile: Any
    ) -> tuple[list[AgentEvent], Outcome]:
        """Probe, launch and parse; `script` is what the model does."""
        name = f"run{len(self.model.requests())}"
        self.model.script(name, script)
        base = self.model.base_url(name, name)
        environ = {
            **os.environ,
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_API_KEY": "key-of-the-run",
            "OPENAI_BASE_URL": f"{base}/v1",
            "OPENAI_API_KEY": "key-of-the-run",
        }
        chosen = Profile(name="p", adapter="builtin", **({"model": DIALECTS[self.dialect]} | profile))
        adapter = adapter_of(chosen)
        found = adapter.probe(executable_of(chosen), environ)
        spec = LaunchSpec(
            prompt=prompt,
            workspace=self.workspace,
            home=self.folder / "home",
            profile=chosen,
            base_env=environ,
            limit_seconds=LIMIT_SECONDS,
            prompt_file=self.folder / "prompt.md",
            resume=resume,
            found=found,
            hook=self.hook,
        )
        launch = adapter.launch(spec)
        assert not launch.files
        done = subprocess.run(
            launch.argv,
            env=launch.env,
            cwd=self.workspace,
            input=launch.stdin,
            capture_output=True,
            timeout=LIMIT_SECONDS,
        )
        parser = adapter.parser()
        events = [event for line in done.stdout.splitlines() for event in parser.feed(line)]
        assert not any(isinstance(event, Raw) for event in events), done.stdout
        self.lines = tuple(json.loads(line) for line in done.stdout.splitlines())
        self.exit_status = done.returncode
        return events, parser.close(done.returncode, done.stderr.decode(errors="replace")[-4000:])

    def data(self, kind: str) -> list[Mapping[str, Any]]:
        """The data of every line of a type."""
        return [line["data"] for line in self.lines if line["type"] == kind]

    def types(self) -> list[str]:
        """The types of the run's events."""
        return [line["type"] for line in self.lines if line["type"] not in ("started", "usage", "retry")]

    def requests(self) -> list[int]:
        """Statuses of what was asked so far."""
        return [request.status for request in self.model.requests()]
