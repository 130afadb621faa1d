"""What every adapter offers: each is a module with the functions of Adapter; `agents/__init__.py` lists them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agentd.agents.events import AgentEvent, Outcome
from agentd.model import Profile

MAX_ARGUMENT_BYTES = 131_072
"""The longest single argument Linux takes, its closing NUL included (MAX_ARG_STRLEN in <linux/binfmts.h>)."""


@dataclass(frozen=True)
class Found:
    """A program that was looked up and can do what its adapter needs."""

    path: Path
    """Absolute, as found: a link is not followed, since programs look at the name they are called by."""
    real_path: Path
    """What stands at the end of the links; its installation must be readable in a sandbox too."""
    options: frozenset[str] = frozenset()
    """The `--long` options of its help text; empty where the adapter does not look."""
    needs: tuple[Path, ...] = ()
    """What else it reads, with its real path; it is there in a sandbox too, at the same place."""


@dataclass(frozen=True)
class Launch:
    """A process to start with the workspace as its directory, and what must be there before."""

    argv: tuple[str, ...]
    env: dict[str, str]
    """The whole environment; nothing else may be inherited."""
    stdin: bytes | None = None
    """Written and then closed; None connects /dev/null."""
    files: dict[Path, str] = field(default_factory=dict)
    """Absolute paths and what to write there, readable by the owner only."""


@dataclass(frozen=True)
class LaunchSpec:
    """Everything that decides how an agent is started."""

    prompt: str
    workspace: Path
    home: Path
    """The run's own home directory; kept when the session may be resumed."""
    profile: Profile
    base_env: Mapping[str, str]
    """agentd's own environment. Nothing of it reaches the agent but what an allowlist names."""
    limit_seconds: float
    prompt_file: Path
    """Where a prompt file may be written: outside the workspace."""
    resume: str | None = None
    """The session to continue."""
    found: Found | None = None
    """What `probe` gave. Without it the program is taken by name and for the version the adapter was written for."""
    sandboxed: bool = False
    """agentd's sandbox is around the agent: an agent that brings one leaves its own off, since it cannot nest."""
    hook: tuple[str, ...] = ()
    """argv of the program that judges every tool call; empty for none"""
    waits_seconds: tuple[float, ...] | None = None
    """between the tries of a model call, for an agent that can be told; one more try than waits"""
    telemetry: str = ""
    """address of the OTLP/HTTP receiver of its own spans; empty when none are wanted"""
    endpoint: Mapping[str, str] = field(default_factory=dict)
    """the gateway, in the variables of agents.endpoints; nothing else says then where a model is or has a key"""


def hook_settings(hook: tuple[str, ...]) -> str:
    """The JSON by which agents with Claude Code's hooks ask a program before every tool call.

    They go on when a hook fails, except with exit status 2 and a reason on standard error: so a program that cannot be
    started refuses too.
    """
    command = f"{shlex.join(hook)} || {{ echo 'the policy could not be asked' >&2; exit 2; }}"
    entry = {"matcher": "*", "hooks": [{"type": "command", "command": command}]}
    return json.dumps({"hooks": {"PreToolUse": [entry]}}, indent=2) + "\n"


class EventParser(Protocol):
    """Reads one agent's output. Never raises for what it reads: an unknown line is a Raw event."""

    def feed(self, line: bytes) -> list[AgentEvent]:
        """The events of one line of standard output, with or without its line end."""
        ...

    def close(self, exit_status: int, stderr_tail: str) -> Outcome:
        """The outcome. `exit_status` is negative for a signal, as subprocess gives it."""
        ...


class Adapter(Protocol):
    """A coding agent's adapter: a module with these functions."""

    def probe(self, executable: str | None, env: Mapping[str, str]) -> Found:
        """Find the program (`executable`, or the adapter's own names) on env's PATH and check that it is the right one.

        Raises ConfigurationError saying what was looked for and what to install.
        """
        ...

    def launch(self, spec: LaunchSpec) -> Launch:
        """How to start the agent. Raises ConfigurationError. Touches no file."""
        ...

    def parser(self) -> EventParser:
        """A fresh parser for one run's output."""
        ...
