"""Tool calls as agents' hooks tell them, read into what the gates are asked about."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

from agentd.policy.gates import Need, ToolCall
from agentd.sandbox.profile import WORKSPACE

SHELL_TOOLS = frozenset(["Bash", "shell", "exec_command", "execute", "run_shell_command"])
SHELLS = frozenset(f"{folder}{name}" for folder in ("", "/bin/", "/usr/bin/") for name in ("bash", "sh"))
"""Of a program elsewhere that has such a name nobody knows what it does with its text."""
WRITE_TOOLS = frozenset(["Write", "Edit", "MultiEdit", "NotebookEdit", "apply_patch", "write_file", "edit_file"])
READ_TOOLS = frozenset(
    ["Read", "Glob", "Grep", "LS", "NotebookRead", "read_file", "list_files", "TodoRead", "TodoWrite", "report"]
)
"""Tools that only look. One that nobody knows may do anything."""
PATH_FIELDS = ("file_path", "notebook_path", "path")
PATCH_FIELDS = ("input", "patch", "command")
PATCH_LINES = ("*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ")
"""Where a text for apply_patch names what it writes."""
MOST_PATHS = 1000
"""Of one call; each is looked up."""
MOST_PATH_BYTES = 4096
"""PATH_MAX: the kernel takes no longer one."""


class Asked(NamedTuple):
    """A question of a hook."""

    call: ToolCall
    command: str | None
    """what a shell will run; None for other tools"""
    subject: str
    """the tool's name with the paths that it would write, for people"""


def asked(question: Any, leads_to: Callable[[str], str]) -> Asked:
    """What a hook asks. Raises KeyError, TypeError, AttributeError for what is no tool call."""
    name, given = question["tool_name"], question["tool_input"]
    if not isinstance(name, str):
        raise TypeError("a tool's name is a text")
    folder = question.get("cwd")
    try:
        return _read(name, given, folder, leads_to)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Still a call, which other rules may have something to say of.
        return Asked(ToolCall(name, given, _needs(name, ""), unreadable=type(error).__name__), None, name)


def _read(name: str, given: dict[str, Any], folder: str | None, leads_to: Callable[[str], str]) -> Asked:
    command = _command(given) if name in SHELL_TOOLS else None
    writes = _paths(_written(given), folder, leads_to) if name in WRITE_TOOLS else ()
    reads = _paths(_named(given), folder, leads_to) if name in READ_TOOLS else ()
    url = given.get("url", "")
    if not isinstance(url, str):
        raise TypeError("an address is a text")
    call = ToolCall(name, given, _needs(name, url), writes, reads, url)
    return Asked(call, command, " ".join([name, *(path for path, _ in writes)]))


def _needs(name: str, url: str) -> Need:
    if name in WRITE_TOOLS:
        return "write"
    if name in READ_TOOLS:
        return "read"
    return "network" if url else "execute"


def _command(given: dict[str, Any]) -> str:
    """The text that the shell will run. Raises KeyError, TypeError, ValueError."""
    command = given["command"] if "command" in given else given["cmd"]
    if isinstance(command, str):
        return command
    words = [word for word in command if isinstance(word, str)]
    if not words or len(words) != len(command):
        raise TypeError("a command is a text or a list of words")
    if len(words) == 3 and words[0] in SHELLS and words[1] in ("-c", "-lc"):
        return words[2]
    return shlex.join(words)


def _named(given: dict[str, Any]) -> list[str]:
    return [given[name] for name in PATH_FIELDS if name in given]


def _written(given: dict[str, Any]) -> list[str]:
    """What a tool call would write. Raises TypeError, AttributeError."""
    named = _named(given)
    for name in PATCH_FIELDS:
        text = given.get(name, "")
        lines = (text if isinstance(text, str) else "\n".join(text)).splitlines()
        named += [line.removeprefix(mark) for line in lines for mark in PATCH_LINES if line.startswith(mark)]
    return named


def _paths(named: list[str], folder: str | None, leads_to: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """Each absolute, and where it leads. Raises TypeError, AttributeError, and ValueError for more than may be."""
    if len(named) > MOST_PATHS:
        raise ValueError(f"more than {MOST_PATHS} paths")
    absolute = [posixpath.join(folder or WORKSPACE, path.strip()) for path in named]
    if any(len(path.encode(errors="surrogatepass")) > MOST_PATH_BYTES for path in absolute):
        raise ValueError(f"a path of more than {MOST_PATH_BYTES} bytes")
    return tuple((posixpath.normpath(path), leads_to(path)) for path in absolute)
