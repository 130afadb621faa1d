"""OpenCode (`opencode run`), written for 1.18: one JSON object a line, prompt by standard input.

The hostile side of it: plugins, MCP servers, formatters and language servers that the checked-out repository names
would run without a question. So the repository's configuration is not read (OPENCODE_DISABLE_PROJECT_CONFIG) and
plugins are off (`--pure`). Neither keeps out all plugins: where the repository has one, a driver in front of it does
not start it (drivers/plugins.py). The repository's AGENTS.md, which is text, is named as an instruction.

At every start it tries to install a package of its own into its configuration directory. Without a network that fails
in the background and changes nothing. It has no hook that could ask agentd: `shell_allow` becomes its own table of
permissions. Started through the adapter `acp` it does ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentd.agents.driving import driven, driver_files
from agentd.agents.environment import base_environment, setting
from agentd.agents.executables import find, found_with, help_text, options_of, program
from agentd.agents.opencode_events import read
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Parser, json_lines
from agentd.errors import ConfigurationError

INSTALL = "install OpenCode (npm install -g opencode-ai), or name its program in the profile's command"

ENDPOINT = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
"""Taken from agentd's own environment: where the model is, and the key for it."""

PROVIDER = "agentd"
"""The name under which the model's address stands in the configuration."""

ALLOWED = ("read", "edit", "glob", "grep", "list", "todowrite", "todoread", "task")
"""Tools that need no rule; whatever else there is, fetching pages for one, is denied."""

INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "CONTEXT.md")
"""Files in the root of the repository that it would read by itself."""

SWITCHES = (
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_SHARE",
)

FOLDERS = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
}

_NEEDED = ("--format", "--pure", "--session")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The program `opencode`, if `opencode run` is there and knows the options that are used here."""
    path = find([executable or "opencode"], env, INSTALL)[0]
    return found_with(path, options_of(help_text([str(path), "run"], env)), _NEEDED, INSTALL)


def launch(spec: LaunchSpec) -> Launch:
    """`opencode run --pure --format json` with a configuration of its own, in the run's home."""
    name, extra = program(spec, "opencode")
    argv = [name, "run", "--pure", "--format", "json"]
    model = _model(spec)
    argv += ["--model", model] if model else []
    argv += ["--session", spec.resume] if spec.resume else []
    path = spec.home / ".config" / "agentd-opencode.json"
    settings = {variable: str(spec.home / folder) for variable, folder in FOLDERS.items()}
    settings |= dict.fromkeys(SWITCHES, "1") | {"OPENCODE_CONFIG": str(path)}
    files = {path: json.dumps(_configuration(spec), indent=2) + "\n"}
    command = driven(spec, "opencode", (*argv, *extra), with_options=False)
    env = base_environment(spec, ENDPOINT, settings)
    return Launch(command, env, spec.prompt.encode(), files | driver_files(spec))


def parser() -> EventParser:
    """Reads `--format json`."""
    return Parser(json_lines(read))


def permissions(spec: LaunchSpec) -> dict[str, Any]:
    """Its table of permissions: the last rule that fits decides, so what is denied stands first."""
    allowed = spec.profile.shell_allow
    shell = {"*": "deny"} | {f"{command} *": "allow" for command in allowed} if allowed else {"*": "allow"}
    outside = {"*": "deny", "/tmp/**": "allow"}
    return {"*": "deny", **dict.fromkeys(ALLOWED, "allow"), "bash": shell, "external_directory": outside}


def _configuration(spec: LaunchSpec) -> dict[str, Any]:
    """opencode.json: nothing that starts a program by itself, and the model's address; the key stays a variable."""
    configuration: dict[str, Any] = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "formatter": False,
        "lsp": False,
        "instructions": [str(spec.workspace / name) for name in INSTRUCTIONS],
        "permission": permissions(spec),
    }
    address = setting(spec, "OPENAI_BASE_URL")
    if address:
        configuration["provider"] = {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": PROVIDER,
                "options": {"baseURL": address, "apiKey": "{env:OPENAI_API_KEY}"},
                "models": {spec.profile.model: {"name": spec.profile.model}},
            }
        }
    return configuration


def _model(spec: LaunchSpec) -> str:
    """The model as `--model` takes it; "" leaves the choice to opencode. Raises ConfigurationError."""
    if not setting(spec, "OPENAI_BASE_URL"):
        return spec.profile.model
    if not spec.profile.model:
        raise ConfigurationError(
            f"profile {spec.profile.name!r} names no model: opencode has no default for the address in "
            'OPENAI_BASE_URL; add model = "..."'
        )
    return f"{PROVIDER}/{spec.profile.model}"
