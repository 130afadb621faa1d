"""Deep Agents (`dcode`, earlier `deepagents`), written for deepagents-code 0.1 and 0.2 and deepagents-cli from 0.0.20.

Three names, three prefixes of its variables, and a package that kept the name `deepagents` without the agent: so the
program is told by its `--help`, and everything that has an option goes by option. The variables of agentd's first
version (DEEPAGENTS_AGENT, DEEPAGENTS_MODEL, DEEPAGENTS_SHELL_ALLOW_LIST, DEEPAGENTS_LANGSMITH_PROJECT) are translated;
today's dcode would ignore them without a word. Those of dcode's own that mean the same are understood too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from agentd.agents.deepagents_events import judge, read
from agentd.agents.environment import base_environment, setting
from agentd.agents.executables import as_argument, find, found_with, help_text, options_of, program
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec, hook_settings
from agentd.agents.transcript import Parser
from agentd.errors import ConfigurationError

NAMES = ("dcode", "deepagents-code", "deepagents", "deepagents-cli")

INSTALL = (
    "install Deep Agents (pip install deepagents-code), or name its program in the profile's command; deepagents-cli "
    "0.1 and later has no agent any more"
)

SHELL_ALLOW = (
    *("cd", "git", "pnpm", "npm", "node", "npx", "python3", "bash", "sh"),
    *("ls", "cat", "head", "tail", "grep", "pwd", "which", "cp", "mv", "rm", "mkdir", "touch"),
)
"""What the shell tool may run when nobody says. Never empty: without a list there is no shell tool, and a run that
can do nothing ends with exit status 0."""

ENDPOINT = (
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
)
"""Taken from agentd's own environment: where the model is, and the key for it."""

TRACING_KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
TRACING_SWITCHES = ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2")
TRACING = (*TRACING_KEYS, *TRACING_SWITCHES, "LANGSMITH_ENDPOINT", "LANGSMITH_PROJECT", "LANGCHAIN_PROJECT")

# What the options of today's dcode are, for a launch without a probe.
_TODAY = frozenset(["--stdin", "--no-mcp", "--no-tracing", "--no-interpreter", "--timeout"])
PREFIXES = ("DEEPAGENTS_", "DEEPAGENTS_CODE_", "DEEPAGENTS_CLI_")
"""Before the names of variables: of agentd's first version, of dcode, and of deepagents-cli from 0.0.38 on."""

_NEEDED = ("--non-interactive", "--shell-allow-list")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The first program of the known names whose help offers a run without a person; the others merely share a name."""
    refused = ""
    for path in find([executable] if executable else NAMES, env, INSTALL):
        try:
            return found_with(path, _with_negations(options_of(help_text([str(path)], env))), _NEEDED, INSTALL)
        except ConfigurationError as error:
            refused = refused or str(error)
    raise ConfigurationError(refused)


def launch(spec: LaunchSpec) -> Launch:
    """A run without a person: prompt by standard input where the version can, everything else by options."""
    profile = spec.profile
    name, extra = program(spec, "dcode")
    offered = spec.found.options if spec.found else _TODAY
    by_stdin = "--stdin" in offered
    argv = [name, "--stdin"] if by_stdin else [name, "-n", as_argument(spec.prompt, profile.name)]
    argv += ["-S", ",".join(_shell_allow(spec))]
    model = profile.model or setting(spec, "DEEPAGENTS_MODEL")
    agent = profile.agent or setting(spec, "DEEPAGENTS_AGENT")
    argv += ["--model", model] if model else []
    argv += ["-a", agent] if agent else []
    tracing = _tracing(spec)
    wanted = ["--no-mcp", "--no-interpreter"] + ([] if tracing else ["--no-tracing"])
    argv += [option for option in wanted if option in offered]
    if "--timeout" in offered:
        argv += ["--timeout", str(max(1, math.ceil(spec.limit_seconds)))]
    argv += ["-r", spec.resume] if spec.resume else []
    env = base_environment(spec, (*ENDPOINT, *(TRACING if tracing else ())), _settings(spec))
    files = {spec.home / ".deepagents" / "hooks.json": hook_settings(spec.hook)} if spec.hook else {}
    return Launch((*argv, *extra), env, spec.prompt.encode() if by_stdin else None, files)


def parser() -> EventParser:
    """Reads the text it writes; there is nothing better without hooks."""
    return Parser(read, judge)


def _settings(spec: LaunchSpec) -> dict[str, str]:
    project = _prefixed(spec, "LANGSMITH_PROJECT")
    settings = {
        "DEEPAGENTS_CODE_OFFLINE": "1",
        "DEEPAGENTS_CODE_NO_UPDATE_CHECK": "1",
        # Otherwise it tries to download one first.
        "DEEPAGENTS_CODE_RIPGREP_INSTALLER": "system",
        "NO_COLOR": "1",
        # It wraps its lines at the width of the terminal, session ids too.
        "COLUMNS": "1000",
    }
    if project:
        settings |= {f"DEEPAGENTS_{part}LANGSMITH_PROJECT": project for part in ("CODE_", "CLI_", "")}
    return settings


def _prefixed(spec: LaunchSpec, name: str) -> str:
    """The variable under the first of its names that is set, or ""."""
    return next((value for prefix in PREFIXES if (value := setting(spec, prefix + name))), "")


def _shell_allow(spec: LaunchSpec) -> tuple[str, ...]:
    """The profile's list, else DEEPAGENTS_SHELL_ALLOW_LIST, else SHELL_ALLOW; "all" must stand alone."""
    named = spec.profile.shell_allow or _prefixed(spec, "SHELL_ALLOW_LIST").split(",")
    commands = tuple(stripped for command in named if (stripped := command.strip())) or SHELL_ALLOW
    if len(commands) > 1 and any(command.lower() == "all" for command in commands):
        raise ConfigurationError(
            f"profile {spec.profile.name!r}: the shell allow list {','.join(commands)} mixes 'all' with commands; "
            "'all' means that nothing is checked and must stand alone, so list the commands instead"
        )
    return commands


def _tracing(spec: LaunchSpec) -> bool:
    """LangSmith tracing by the agent itself: only with a key and a switch that says so."""
    switched = any(setting(spec, name).lower() in ("1", "true", "yes", "on") for name in TRACING_SWITCHES)
    return switched and any(setting(spec, name) for name in TRACING_KEYS)


def _with_negations(options: frozenset[str]) -> frozenset[str]:
    """Help texts show a switch as `--[no-]x` or `--x` where `--no-x` is there as well."""
    return options | {"--no-interpreter"} if "--interpreter" in options else options
