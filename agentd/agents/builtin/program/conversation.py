"""The conversation in no service's words, so that either backend can go on with it; kept short, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

CHARACTERS_A_TOKEN = 4
"""Of source code and English, about; what is estimated by it is only when to shorten."""
KEPT_WHOLE = 4
"""Of the newest tool results, whatever the limit."""
KEPT_CHARACTERS = 400
"""Of a result that is shortened."""


@dataclass(frozen=True)
class Call:
    """A tool call as the model made it."""

    id: str
    name: str
    input: Any
    """None where what the model wrote is no JSON"""
    raw: str = ""
    """as the model wrote it"""


@dataclass(frozen=True)
class Entry:
    """What one side said: the user, the model, or a tool."""

    role: str
    """user, assistant or tool"""
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    """of a tool's result"""
    is_error: bool = False
    blocks: tuple[Mapping[str, Any], ...] = field(default=())
    """the model's words as its service sent them, for a service that wants them back like that"""


def shortened(entries: Sequence[Entry], limit_tokens: int) -> tuple[Entry, ...]:
    """The entries, the oldest tool results cut until all of it is about `limit_tokens` or nothing old is left."""
    found = list(entries)
    results = [at for at, entry in enumerate(found) if entry.role == "tool"][:-KEPT_WHOLE]
    size = sum(_size(entry) for entry in found)
    for at in results:
        if size <= limit_tokens * CHARACTERS_A_TOKEN:
            break
        entry = found[at]
        if len(entry.text) > 2 * KEPT_CHARACTERS:
            note = f"\n[{len(entry.text) - KEPT_CHARACTERS} characters of this old result were taken out]"
            found[at] = replace(entry, text=entry.text[:KEPT_CHARACTERS] + note)
            size -= len(entry.text) - len(found[at].text)
    return tuple(found)


def _size(entry: Entry) -> int:
    return len(entry.text) + sum(len(call.raw) + len(call.name) for call in entry.calls)


def answered(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, with a result for every call of a session that was killed: no service takes a call without one."""
    if not entries:
        return ()
    last = next(at for at in range(len(entries) - 1, -1, -1) if entries[at].role != "tool")
    given = {entry.call_id for entry in entries[last:]}
    left = [call for call in entries[last].calls if call.id not in given]
    return (*entries, *(Entry("tool", "interrupted: it may have been done or not", (), call.id, True) for call in left))


def save(path: Path, entries: Sequence[Entry]) -> None:
    """Write a session, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version": 1, "entries": [asdict(entry) for entry in entries]}))
    new.rename(path)


def load(path: Path) -> tuple[Entry, ...]:
    """What `save` wrote; empty when there is none, or none that can be read."""
    try:
        known = json.loads(path.read_text())
        entries = known["entries"] if known["version"] == 1 else ()
        return tuple(_entry(entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _entry(known: Mapping[str, Any]) -> Entry:
    calls = tuple(Call(**call) for call in known["calls"])
    return Entry(**{**known, "calls": calls, "blocks": tuple(known["blocks"])})
