"""Codex through `codex app-server`, written for 0.169: it asks before it runs a command, and agentd answers.

The same program, configuration and home as codex.py. It needs no hook: a driver in front of it (drivers/codex.py) holds
the conversation and asks agentd's policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentd.agents.codex import ENDPOINT, INSTALL, configuration
from agentd.agents.driver_events import read
from agentd.agents.driving import driven, driver_files
from agentd.agents.environment import base_environment
from agentd.agents.executables import find, found_with, help_text, options_of, program
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Parser, json_lines
from agentd.errors import ConfigurationError

_NEEDED = ("--config", "--listen")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The program `codex`, if it has an app-server."""
    path = find([executable or "codex"], env, INSTALL)[0]
    return found_with(path, options_of(help_text([str(path), "app-server"], env)), _NEEDED, INSTALL)


def launch(spec: LaunchSpec) -> Launch:
    """The driver, with `codex app-server` behind it; codex's own sandbox is off where agentd's is around it."""
    if spec.profile.shell_allow and not spec.hook and not spec.sandboxed:
        raise ConfigurationError(
            f"profile {spec.profile.name!r} has shell_allow, which the adapter 'codex-app-server' can only keep in the "
            'sandbox; take it out, or set sandbox = "required"'
        )
    name, extra = program(spec, "codex")
    codex_home = spec.home / ".codex"
    sandbox = "danger-full-access" if spec.sandboxed else "workspace-write"
    argv = driven(spec, "codex", (name, "app-server", *extra), f"--sandbox={sandbox}")
    env = base_environment(spec, ENDPOINT, {"CODEX_HOME": str(codex_home)})
    files = {codex_home / "config.toml": configuration(spec), **driver_files(spec)}
    return Launch(argv, env, spec.prompt.encode(), files)


def parser() -> EventParser:
    """Reads what the driver writes."""
    return Parser(json_lines(read))
