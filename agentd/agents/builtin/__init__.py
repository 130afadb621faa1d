"""agentd's own agent (`builtin`): nothing to install, any model that speaks Anthropic Messages or OpenAI chat.

Its program is the folder `program` beside this file, which is mounted in the sandbox and run by agentd's own Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from agentd.agents.builtin_events import read
from agentd.agents.environment import base_environment, setting
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Parser, json_lines
from agentd.errors import ConfigurationError

PROGRAM = Path(__file__).resolve().parent / "program"
ENDPOINT = (
    *("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    *("OPENAI_BASE_URL", "OPENAI_API_KEY"),
)
"""Taken from agentd's own environment: where the model is, and the key for it."""
DIALECTS = {"anthropic": "messages", "openai": "chat"}
"""By what may stand before the model's name, `openai:gpt-5`; variables of that name say where it is."""


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """agentd's own Python, and the program; a profile names no other one. Raises ConfigurationError."""
    if executable:
        raise ConfigurationError("a profile with adapter 'builtin' has no command: the agent comes with agentd")
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists():
        raise ConfigurationError(f"agentd's Python is not at {python}, where the built-in agent would start it")
    return Found(python, python.resolve(), needs=(PROGRAM,))


def launch(spec: LaunchSpec) -> Launch:
    """The program with the prompt by standard input. Raises ConfigurationError where no model is named."""
    profile = spec.profile
    dialect, model = _model(spec)
    python = str(spec.found.path) if spec.found else sys.executable
    argv = [python, "-I", "-S", "-B", str(PROGRAM), "--dialect", dialect, "--model", model]
    argv += ["--max-steps", str(profile.max_steps)]
    if spec.waits_seconds is not None:
        argv += ["--waits", json.dumps(spec.waits_seconds)]
    if spec.hook:
        argv += ["--hook", json.dumps(spec.hook)]
    if spec.resume:
        argv += ["--resume", spec.resume]
    return Launch(tuple(argv), base_environment(spec, ENDPOINT), spec.prompt.encode())


def parser() -> EventParser:
    """Reads the program's lines."""
    return Parser(json_lines(read))


def _model(spec: LaunchSpec) -> tuple[str, str]:
    """(dialect, model): as the model's name says, else as the one service that is set up does."""
    name = spec.profile.name
    service, colon, model = spec.profile.model.partition(":")
    if colon and model and service in DIALECTS:
        return DIALECTS[service], model
    known = [each for each in DIALECTS if any(setting(spec, one) for one in ENDPOINT if one.startswith(each.upper()))]
    if not spec.profile.model:
        raise ConfigurationError(f"profile {name!r} names no model, which the adapter 'builtin' needs; set model")
    if len(known) != 1:
        found = "both services are set up" if known else "neither ANTHROPIC_* nor OPENAI_* variables are set"
        raise ConfigurationError(
            f"profile {name!r}: {found}, so nobody knows who serves {spec.profile.model!r}; "
            "put anthropic: or openai: before it"
        )
    return DIALECTS[known[0]], spec.profile.model
