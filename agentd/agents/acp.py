"""Any agent that speaks the Agent Client Protocol (`opencode acp`, `dcode --acp`); the profile's command starts it.

The agent's process wants a conversation, which a driver in front of it holds (drivers/acp.py). Before it uses a tool
the agent asks, and agentd's hook answers where the profile has `shell_allow`; else what stays in the workspace is
allowed. Whether the agent asks is a setting of its own: one that acts against the policy without asking has failed.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentd.agents.driver_events import read
from agentd.agents.driving import driven, driver_files
from agentd.agents.environment import base_environment
from agentd.agents.executables import find
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Parser, json_lines
from agentd.errors import ConfigurationError


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The profile's program; whether it speaks the protocol shows when it is started."""
    if not executable:
        raise ConfigurationError(
            "a profile with adapter 'acp' needs a command that starts an agent which speaks the Agent Client Protocol, "
            'for example command = ["opencode", "acp"]'
        )
    [path] = find([executable], env, "install it, or correct the profile's command")
    return Found(path, path.resolve())


def launch(spec: LaunchSpec) -> Launch:
    """The driver, with the profile's command behind it."""
    profile = spec.profile
    if not profile.command:
        raise ConfigurationError(
            f"profile {profile.name!r} has no command: with adapter 'acp' it is the program and its arguments"
        )
    if profile.shell_allow and not spec.hook and not spec.sandboxed:
        raise ConfigurationError(
            f"profile {profile.name!r} has shell_allow, which the adapter 'acp' can only keep in the sandbox; take it "
            'out, or set sandbox = "required"'
        )
    name, *extra = profile.command
    argv = (str(spec.found.path) if spec.found else name, *extra)
    return Launch(driven(spec, "acp", argv), base_environment(spec), spec.prompt.encode(), driver_files(spec))


def parser() -> EventParser:
    """Reads what the driver writes."""
    return Parser(json_lines(read))
