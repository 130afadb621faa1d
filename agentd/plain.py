"""Untrusted text made plain: it neither moves a terminal's cursor nor changes its settings, and any store takes it."""

from __future__ import annotations

import re
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every control and format character but line ends and tabs replaced."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def one_line(text: str, most: int = 0) -> str:
    """The text as one line, at most so many characters long; 0 is no limit."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if not most or len(line) <= most else f"{line[: most - 1]}…"


def storable(value: Any) -> Any:
    """A text, or JSON with texts in it, that can be kept: NUL and half surrogates are replaced.

    PostgreSQL has no NUL in a text (https://www.postgresql.org/docs/current/datatype-character.html), and half a
    surrogate pair has no UTF-8. `\\u0000` and `\\ud83d` in JSON are enough to make them.
    """
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub("�", value)
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [storable(each) for each in value]
    return tuple(storable(each) for each in value) if isinstance(value, tuple) else value
