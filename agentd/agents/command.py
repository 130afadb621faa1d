"""Any program as an agent: the profile says how it is started, and exit status 0 means that it is done.

Its output is text and nothing else, even where it looks like some agent's events, unless the profile says what its
lines mean (command_events.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from agentd.agents.environment import base_environment
from agentd.agents.events import AgentEvent, Error, Outcome, Text
from agentd.agents.executables import as_argument, find
from agentd.agents.outcomes import from_exit
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec
from agentd.agents.transcript import Parser, Transcript, ends
from agentd.errors import ConfigurationError

PROMPT = "{prompt}"
PROMPT_FILE = "{prompt_file}"
SESSION = "{session}"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The profile's program. One given relative to the workspace (`./agent.py`) can only be checked when it starts."""
    if not executable:
        raise ConfigurationError("a profile with adapter 'command' needs a command: the program and its arguments")
    if "/" in executable and not Path(executable).is_absolute():
        return Found(Path(executable), Path(executable))
    [path] = find([executable], env, "install it, or correct the profile's command")
    return Found(path, path.resolve())


def launch(spec: LaunchSpec) -> Launch:
    """The profile's command, with the prompt by standard input, as an argument or in a file, as the profile says."""
    profile = spec.profile
    if not profile.command:
        raise ConfigurationError(
            f"profile {profile.name!r} has no command: with adapter 'command' it is the program and its arguments"
        )
    argv, stdin, files = list(profile.command), None, {}
    if profile.prompt == "stdin":
        stdin = spec.prompt.encode()
    elif profile.prompt == "argument":
        argv = [as_argument(part, profile.name) for part in _put(argv, PROMPT, spec.prompt)]
    else:
        files = {spec.prompt_file: spec.prompt}
    # A program may read the file and take the prompt another way too.
    if profile.prompt == "file" or any(PROMPT_FILE in part for part in profile.command):
        argv = _put(argv, PROMPT_FILE, str(spec.prompt_file))
        files = {spec.prompt_file: spec.prompt}
    if spec.resume and profile.resume:
        argv += [part.replace(SESSION, spec.resume) for part in profile.resume]
    argv[0] = _program(argv[0], spec)
    env = base_environment(spec)
    return Launch(tuple(argv), env, stdin, files | _files(spec, env))


def parser() -> EventParser:
    """Every line is Text; the exit status alone decides."""
    return Parser(_read, _judge)


def _files(spec: LaunchSpec, env: Mapping[str, str]) -> dict[Path, str]:
    """The profile's files with its variables filled in. Raises ConfigurationError naming the file."""
    made = {}
    for name, text in spec.profile.files.items():
        path = Path(os.path.normpath(spec.home / name))
        if spec.home not in path.parents:
            raise ConfigurationError(f"profile {spec.profile.name!r}: the file {name!r} is not below the run's home")
        unknown = next((variable for variable in _VARIABLE.findall(text) if variable not in env), None)
        if unknown is not None:
            raise ConfigurationError(
                f"profile {spec.profile.name!r}: the file {name!r} needs the variable {unknown}, which the agent does "
                "not have; set it, and name it in pass_env or env"
            )
        made[path] = _VARIABLE.sub(lambda found: env[found[1]], text)
    return made


def _put(argv: list[str], placeholder: str, value: str) -> list[str]:
    """The arguments with the value for the placeholder, or behind them all where there is none."""
    if not any(placeholder in part for part in argv):
        return [*argv, value]
    return [part.replace(placeholder, value) for part in argv]


def _program(name: str, spec: LaunchSpec) -> str:
    if "/" not in name:
        return str(spec.found.path) if spec.found else name
    # os.path, not Path: a leading ./ must not be lost, nor a link inside the workspace followed.
    return os.path.normpath(spec.workspace / name)


def _read(line: bytes, transcript: Transcript) -> list[AgentEvent]:
    return [Text(line.decode(errors="replace"))]


def _judge(transcript: Transcript, exit_status: int, stderr_tail: str) -> Outcome:
    if exit_status == 0:
        return ends(transcript, Error("success", ""))
    error = from_exit(exit_status, stderr_tail)
    return ends(transcript, Error(error.kind, error.message.replace(" and no final answer", ""), error.retryable))
