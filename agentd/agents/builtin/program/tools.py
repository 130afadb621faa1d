"""The tools: what each takes, and what it does. What goes wrong is the model's to read, never the end of the run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .backends import Tool
from .shell import run

COMMAND_SECONDS = 120
LONGEST_COMMAND_SECONDS = 600
"""Shorter than agentd waits for a sign of life."""
MAX_FILE_BYTES = 1 << 20
MAX_LINES = 2000
"""Of a file in one reading."""
MAX_LISTED = 500

_PATH = {"type": "string", "minLength": 1, "description": "relative to the working directory, or absolute"}


def _object(required: tuple[str, ...], **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TOOLS = (
    Tool(
        "shell",
        "Run a command with bash in the working directory. Standard input is empty. Let what should go on in the "
        "background write to a file.",
        _object(
            ("command",),
            command={"type": "string", "minLength": 1},
            timeout={
                "type": "integer",
                "minimum": 1,
                "maximum": LONGEST_COMMAND_SECONDS,
                "description": f"seconds, {COMMAND_SECONDS} unless told",
            },
        ),
    ),
    Tool(
        "read_file",
        f"Read a text file, {MAX_LINES} lines at a time, each with its number.",
        _object(("path",), path=_PATH, first_line={"type": "integer", "minimum": 1}),
    ),
    Tool(
        "write_file",
        "Write a file, whole: made with its folders, or replaced.",
        _object(("path", "content"), path=_PATH, content={"type": "string"}),
    ),
    Tool(
        "edit_file",
        "Replace a text in a file. The old text must stand there exactly once; take in enough of what is around it.",
        _object(("path", "old", "new"), path=_PATH, old={"type": "string", "minLength": 1}, new={"type": "string"}),
    ),
    Tool(
        "list_files",
        f"List a folder, {MAX_LISTED} entries at most; folders end with a slash.",
        _object((), path=_PATH),
    ),
    Tool(
        "report",
        "Report that the task is done. This ends your work, so verify it first.",
        _object(
            ("summary", "files_changed", "commands_verified"),
            summary={"type": "string", "minLength": 1},
            files_changed={"type": "array", "items": {"type": "string"}},
            commands_verified={
                "type": "array",
                "items": {"type": "string"},
                "description": "commands that you ran after your last change and that ended with 0",
            },
        ),
    ),
)
REPORT = "report"
BY_NAME = {tool.name: tool for tool in TOOLS}


class Unable(Exception):
    """The tool could not do it; the message is for the model."""


@dataclass(frozen=True)
class Done:
    """What a tool gave back."""

    output: str
    ok: bool = True


async def use(name: str, given: Mapping[str, Any], folder: Path) -> Done:
    """Use a tool with arguments that fit its schema. Never raises for what a file or a command does."""
    try:
        return await _USES[name](given, folder)
    except Unable as problem:
        return Done(str(problem), ok=False)
    except (OSError, ValueError) as problem:  # ValueError: a NUL or half of a character in a path
        return Done(f"{type(problem).__name__}: {problem}", ok=False)


async def _shell(given: Mapping[str, Any], folder: Path) -> Done:
    seconds = given.get("timeout", COMMAND_SECONDS)
    ran = await run(given["command"], folder, seconds)
    how = f"ended after {seconds} s, its time limit" if ran.is_late else f"exit status {ran.exit_status}"
    return Done(f"{ran.output.rstrip()}\n[{how}]".lstrip("\n"), ok=ran.exit_status == 0 and not ran.is_late)


async def _read(given: Mapping[str, Any], folder: Path) -> Done:
    lines = _text(folder / given["path"]).splitlines()
    first = given.get("first_line", 1)
    shown = [f"{number}\t{line}" for number, line in enumerate(lines, 1) if first <= number < first + MAX_LINES]
    left = len(lines) - (first + MAX_LINES - 1)
    return Done("\n".join([*shown, *([f"[{left} lines more]"] if left > 0 else [])]) or "[no such line]")


async def _write(given: Mapping[str, Any], folder: Path) -> Done:
    path, data = folder / given["path"], _data(given["content"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Done(f"wrote {len(given['content'])} characters to {given['path']}")


async def _edit(given: Mapping[str, Any], folder: Path) -> Done:
    path = folder / given["path"]
    text = _text(path)
    count = text.count(given["old"])
    if count != 1:
        there = "is not in it" if count == 0 else f"stands in it {count} times"
        raise Unable(f"{given['path']}: the old text {there}; it must stand there exactly once. Nothing was changed.")
    path.write_bytes(_data(text.replace(given["old"], given["new"])))
    return Done(f"edited {given['path']}")


async def _list(given: Mapping[str, Any], folder: Path) -> Done:
    with os.scandir(folder / given.get("path", ".")) as entries:
        names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in itertools.islice(entries, 10_000)]
    more = [f"[{len(names) - MAX_LISTED} more]"] if len(names) > MAX_LISTED else []
    return Done("\n".join([*sorted(names)[:MAX_LISTED], *more]) or "[empty]")


def _text(path: Path) -> str:
    """A regular file's text, with its line ends as they are: a pipe would be waited for without end."""
    if not path.is_file():
        raise Unable(f"{path}: no such file" if not path.exists() else f"{path}: is no regular file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Unable(f"{path}: is larger than {MAX_FILE_BYTES} bytes; read parts of it with the shell")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise Unable(f"{path}: is not text in UTF-8") from None


def _data(text: str) -> bytes:
    """The bytes of a text; had before its file is opened, which empties it."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise Unable(
            f"the text has half of a character, {half}, which no file can hold. Nothing was changed."
        ) from None


_USES: dict[str, Callable[[Mapping[str, Any], Path], Awaitable[Done]]] = {
    "shell": _shell,
    "read_file": _read,
    "write_file": _write,
    "edit_file": _edit,
    "list_files": _list,
}
