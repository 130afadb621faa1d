"""The blocks of a Markdown text as regions: code, HTML, text, and blocks that no reader sees."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agentd.github.pairs import without_spans

LONGEST_LANGUAGE = 40

_FOOTNOTE = re.compile(r"[ >\t]*\[\^([^\]\s]+)\]:")


class Kind(Enum):
    """What may stand in a region."""

    text = "text"
    html = "html"
    code = "code"
    gone = "gone"
    """no reader sees it"""


@dataclass(frozen=True)
class Region:
    """text[start:end], whole lines or the rest of one."""

    start: int
    end: int
    kind: Kind
    spans: bool = False
    """whether backticks make code here"""
    name: str = ""
    """of a region that is gone"""


def regions(text: str) -> list[Region]:
    """The whole text in order, without gaps.

    Where GitHub's dialect splits further than CommonMark (tables, footnotes) backticks count for nothing: a span
    across the split would be code to us and not to GitHub.
    """
    environment: dict[str, Any] = {}
    # Inline parsing is done by the scanner, which needs positions that the parser does not give.
    tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(text, environment)
    lines = text.split("\n")
    marks: list[Region] = [Region(0, 0, Kind.text)] * len(lines)
    starts = _starts(lines)
    tables = [token.map for token in tokens if token.type == "table_open" and token.map]
    for number, token in enumerate(tokens):
        if token.map is None or token.type not in ("inline", "html_block", "fence", "code_block"):
            continue
        first, last = token.map
        kind = Kind.text if token.type == "inline" else Kind.html if token.type == "html_block" else Kind.code
        in_table = any(table[0] <= first < table[1] for table in tables)
        split = in_table or any(_FOOTNOTE.match(line) for line in lines[first:last])
        # The number makes two neighbouring paragraphs two regions.
        _mark(marks, range(first, last), Region(number, 0, kind, kind is Kind.text and not split))
    _hide_footnotes(marks, lines)
    definitions = [*environment.get("references", {}).items()]
    _hide_definitions(marks, text, definitions, environment.get("duplicate_refs", []))
    found = _joined(marks, starts, len(text))
    return _without_info(found, tokens, lines, starts)


def _joined(marks: list[Region], starts: list[int], length: int) -> list[Region]:
    """Neighbouring lines with the same mark become one region."""
    found: list[Region] = []
    begin = 0
    for line in range(1, len(marks) + 1):
        if line < len(marks) and marks[line] == marks[begin]:
            continue
        mark = marks[begin]
        end = starts[line] if line < len(marks) else length
        found.append(Region(starts[begin], end, mark.kind, mark.spans, mark.name))
        begin = line
    return found


def _without_info(found: list[Region], tokens: list[Token], lines: list[str], starts: list[int]) -> list[Region]:
    """Behind a fence's language, and in a diagram's comments, stands text that GitHub does not show."""
    holes: list[Region] = []
    for token in tokens:
        if token.type != "fence" or token.map is None:
            continue
        first, last = token.map
        info = token.info.strip()
        language = info.split()[0] if info else ""
        shown = len(language) if len(language) <= LONGEST_LANGUAGE else 0
        line = lines[first].rstrip()
        if len(info) > shown and line.endswith(info):
            at = starts[first] + len(line) - len(info) + shown
            holes.append(Region(at, starts[first] + len(line), Kind.gone, name="text behind a code block's language"))
        if language == "mermaid":
            for number in range(first + 1, last):
                if lines[number].lstrip(" >\t").startswith("%%"):
                    end = starts[number] + len(lines[number])
                    holes.append(Region(starts[number], end, Kind.gone, name="comment in a diagram"))
    for hole in holes:
        found = [part for region in found for part in _cut_out(region, hole)]
    return found


def _cut_out(region: Region, hole: Region) -> list[Region]:
    if hole.start < region.start or hole.end > region.end or region.kind is not Kind.code:
        return [region]
    before = Region(region.start, hole.start, region.kind, region.spans)
    return [before, hole, Region(hole.end, region.end, region.kind, region.spans)]


def _hide_definitions(
    marks: list[Region], text: str, definitions: list[tuple[str, Any]], duplicates: Iterable[Any]
) -> None:
    """A link definition shows nothing: one that is used as it stands may stay, any other is a place to hide text."""
    folded = text.casefold()
    for label, definition in definitions:
        if definition.get("title") or folded.count(f"[{label.casefold()}]") < 2:
            _mark(marks, range(*definition["map"]), Region(-1, 0, Kind.gone, name="link definition"))
    for definition in duplicates:
        _mark(marks, range(*definition["map"]), Region(-1, 0, Kind.gone, name="link definition"))


def _hide_footnotes(marks: list[Region], lines: list[str]) -> None:
    """GitHub leaves out a footnote that nothing refers to, with the indented blocks below it."""
    text = [line for line, mark in zip(lines, marks, strict=True) if mark.kind is Kind.text]
    prose = without_spans("\n".join(line for line in text if not _FOOTNOTE.match(line)))
    for number, line in enumerate(lines):
        match = _FOOTNOTE.match(line)
        if match is None or marks[number].kind is not Kind.text or f"[^{match[1]}]" in prose:
            continue
        end = number + 1
        while end < len(lines) and _continues(lines, end):
            end += 1
        _mark(marks, range(number, end), Region(-2, 0, Kind.gone, name="unused footnote"))


def _continues(lines: list[str], number: int) -> bool:
    """Whether the line still belongs to the footnote above it."""
    line = lines[number]
    if _FOOTNOTE.match(line):
        return False
    if line.strip():
        return bool(lines[number - 1].strip()) or line.startswith(("    ", "\t"))
    rest = next((later for later in lines[number:] if later.strip()), "")
    return rest.startswith(("    ", "\t"))


def _mark(marks: list[Region], numbers: Iterable[int], region: Region) -> None:
    for number in numbers:
        if number < len(marks):
            marks[number] = region


def _starts(lines: list[str]) -> list[int]:
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    return starts
