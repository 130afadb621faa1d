"""Reading a file of events, which may be one of an older or a later agentd, or end in the middle of a line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentd.errors import ConfigurationError
from agentd.store.ledger import EVENT_VERSION

MOST_PROBLEMS = 1000
LOOK_SECONDS = 0.5
PIECE_BYTES = 65_536


def check_lines(path: Path) -> tuple[int, list[str]]:
    """(events that follow the schema, one line for each that does not). Raises ConfigurationError without a file."""
    good = 0
    bad: list[str] = []
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            wrong = _problem(line)
            if wrong is None:
                good += 1
            elif len(bad) < MOST_PROBLEMS:
                bad.append(f"{path}:{number}: {wrong}")
    return good, bad


def last_lines(path: Path, number: int) -> tuple[list[str], int]:
    """(the last whole lines, where in the file they end). Raises ConfigurationError without a file."""
    with _opened(path) as file:
        end = position = file.seek(0, 2)
        held = b""
        while position > 0 and held.count(b"\n") <= number:
            position = max(0, position - PIECE_BYTES)
            file.seek(position)
            held = file.read(end - position)
    whole, newline, torn = held.rpartition(b"\n")
    lines = whole.decode(errors="replace").split("\n") if newline else []
    return lines[len(lines) - number :] if number < len(lines) else lines, end - len(torn)


def lines_as_they_come(path: Path, position: int) -> Iterator[str]:
    """Whole lines behind a position, for ever; a new file is read from its beginning."""
    inode = path.stat().st_ino
    while True:
        time.sleep(LOOK_SECONDS)
        if not path.exists():
            continue
        with path.open("rb") as file:
            found = path.stat()
            if found.st_ino != inode or found.st_size < position:
                inode, position = found.st_ino, 0
            file.seek(position)
            whole, newline, _ = file.read().rpartition(b"\n")
        if newline:
            position += len(whole) + 1
            yield from whole.decode(errors="replace").split("\n")


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path}: the events cannot be read: {error.strerror}") from None


def _problem(line: bytes) -> str | None:
    """What is wrong with a line, in one line; None when nothing is."""
    if not line.endswith(b"\n"):
        return "ends in the middle of a line; agentd mends that the next time it writes"
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    version = event.get("schema_version") if isinstance(event, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version > EVENT_VERSION:
        return f"is an event of schema version {version}, which only a later agentd reads"
    first = next(iter(sorted(_validator().iter_errors(event), key=lambda error: error.json_path)), None)
    return None if first is None else f"{first.json_path}: {first.message}"[:500]


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    schema = json.loads((files("agentd") / "schemas" / "agent-event.schema.json").read_text())
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
