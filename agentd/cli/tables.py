"""Tables for people: with rich in a terminal, and as plain aligned lines everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from agentd.plain import one_line, printable

NARROWEST = 60
NARROW = 100
"""Columns; in a narrower terminal lines are wrapped by it."""


@dataclass(frozen=True)
class Table:
    """Rows under a title. Cells are untrusted text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    narrow: tuple[str, ...] = ()
    """columns that a narrow terminal shows; empty for all"""


Block = str | Table


def in_colour() -> bool:
    """Whether output goes to a terminal that may have colours: https://no-color.org"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_terminal() -> bool:
    """Whether somebody looks at it."""
    return sys.stdout.isatty()


def tell(blocks: Sequence[Block]) -> None:
    """Print them one below the other."""
    if not is_terminal():
        typer.echo(plain(blocks))
        return
    shown = console()
    for block in blocks:
        shown.print(rendered(block, shown.width))


def plain(blocks: Sequence[Block]) -> str:
    """Lines without colours or frames, every cell in full."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, str):
            lines.append(printable(block))
            continue
        rows = [[one_line(cell) for cell in row] for row in block.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(block.columns))]
        lines.append(f"{block.title}:")
        lines += [
            f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()
            for row in rows
        ]
    return "\n".join(lines)


def rendered(block: Block, width: int = NARROW) -> Any:
    """The block for rich, for so many columns; nothing in it is taken for markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    if isinstance(block, str):
        return Text(printable(block), overflow="fold")
    table = RichTable(title=block.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, expand=False)
    columns = [
        at for at, name in enumerate(block.columns) if width >= NARROW or not block.narrow or name in block.narrow
    ]
    for at in columns:
        table.add_column(block.columns[at], overflow="fold")
    for row in block.rows:
        table.add_row(*(Text(one_line(row[at])) for at in columns))
    return table


def console() -> Any:
    """rich, as wide as the terminal."""
    from rich.console import Console

    return Console(no_color=not in_colour(), highlight=False, width=max(NARROWEST, width()))


def width() -> int:
    """Columns of the terminal."""
    import shutil

    return shutil.get_terminal_size().columns
