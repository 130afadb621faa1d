"""Finding an agent's program and asking it what it can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentd.agents.protocol import MAX_ARGUMENT_BYTES, Found, LaunchSpec
from agentd.errors import ConfigurationError

_HELP_SECONDS = 60.0
_OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")


def find(names: Sequence[str], env: Mapping[str, str], install: str) -> list[Path]:
    """Every one of `names` that is a program, by env's PATH unless it holds a slash, in that order.

    Raises ConfigurationError with `install` (what to do) when none is there.
    """
    search = env.get("PATH", os.defpath)
    found = [Path(path).absolute() for name in names if (path := shutil.which(name, path=search))]
    if not found:
        raise ConfigurationError(f"no program {' or '.join(names)} on PATH ({search}): {install}")
    return found


def help_text(command: Sequence[str], env: Mapping[str, str]) -> str:
    """What `command --help` prints, both streams; "" when it cannot be started or takes longer than a minute."""
    # An agent's --help may write to its home or ask for updates: give it only what it needs to start.
    child = {name: env[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in env}
    # argparse and rich wrap option names at the width of the terminal.
    child |= {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"}
    try:
        done = subprocess.run(
            [*command, "--help"], env=child, stdin=subprocess.DEVNULL, capture_output=True, timeout=_HELP_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).decode(errors="replace")


def options_of(text: str) -> frozenset[str]:
    """The `--long` options a help text mentions."""
    return frozenset(_OPTION.findall(text))


def found_with(path: Path, options: frozenset[str], needed: Sequence[str], install: str) -> Found:
    """The program, if it knows every option in `needed`; ConfigurationError naming the missing ones otherwise."""
    missing = [option for option in needed if option not in options]
    if missing:
        raise ConfigurationError(
            f"{path} is not the agent that is needed: its --help knows no {', '.join(missing)}; {install}"
        )
    return Found(path, path.resolve(), options)


def program(spec: LaunchSpec, default: str) -> tuple[str, tuple[str, ...]]:
    """The program to start (absolute after a probe) and the profile's own further arguments."""
    name, *extra = spec.profile.command or (default,)
    return str(spec.found.path) if spec.found else name, tuple(extra)


def as_argument(text: str, profile: str) -> str:
    """The text, if it can be one argument of a program; ConfigurationError otherwise."""
    size = len(text.encode())
    if size + 1 > MAX_ARGUMENT_BYTES:
        raise ConfigurationError(
            f"profile {profile!r} hands the prompt over as an argument, and {size} bytes are more than the "
            f"{MAX_ARGUMENT_BYTES} bytes the system takes for one; set the profile's prompt to stdin or file"
        )
    if "\0" in text:
        raise ConfigurationError(
            f"profile {profile!r} hands the prompt over as an argument, and this one holds a NUL character, which an "
            "argument cannot; set the profile's prompt to stdin or file"
        )
    return text
