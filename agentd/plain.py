"""Untrusted text made plain: nothing in it moves a terminal's cursor or changes its settings."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with every control and format character but line ends and tabs replaced."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def one_line(text: str, most: int = 0) -> str:
    """The text as one line, at most so many characters long; 0 is no limit."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if not most or len(line) <= most else f"{line[: most - 1]}…"
