"""Adapters for coding agents: how each is found, started and understood. One file each, with the same functions.

adapter = adapter_of(profile)
found = adapter.probe(executable_of(profile), os.environ)
launch = adapter.launch(LaunchSpec(..., found=found))
parser = adapter.parser()       # parser.feed(line) -> events; parser.close(exit_status, stderr_tail) -> Outcome
"""

from __future__ import annotations

from agentd.agents import acp, builtin, claude, codex, codex_app_server, command, deepagents, opencode
from agentd.agents.command_events import Mapped
from agentd.agents.events import AgentEvent, Outcome
from agentd.agents.protocol import Adapter, EventParser, Found, Launch, LaunchSpec
from agentd.errors import ConfigurationError
from agentd.model import Profile

__all__ = [
    "ADAPTERS",
    "Adapter",
    "AgentEvent",
    "EventParser",
    "Found",
    "Launch",
    "LaunchSpec",
    "Outcome",
    "adapter_of",
    "executable_of",
    "name_of",
]

ADAPTERS: dict[str, Adapter] = {
    "acp": acp,
    "builtin": builtin,
    "claude": claude,
    "codex": codex,
    "codex-app-server": codex_app_server,
    "command": command,
    "deepagents": deepagents,
    "opencode": opencode,
}


def adapter_of(profile: Profile) -> Adapter:
    """The profile's adapter; ConfigurationError when there is none of that name."""
    adapter = ADAPTERS.get(profile.adapter)
    if adapter is None:
        raise ConfigurationError(
            f"profile {profile.name!r} names the adapter {profile.adapter!r}; there are {', '.join(sorted(ADAPTERS))}"
        )
    return Mapped(profile) if adapter is command and profile.events.format == "jsonl" else adapter


def executable_of(profile: Profile) -> str | None:
    """The program that the profile names, for `probe`; None leaves the choice to the adapter."""
    return profile.command[0] if profile.command else None


def name_of(profile: Profile) -> str:
    """What a host must have for the profile: the adapter, and the program where the profile names one."""
    return " ".join(filter(None, [profile.adapter, executable_of(profile)]))
