"""What belongs together in a Markdown text: backticks, brackets, tags. Each worked out once, in linear time.

A text of 60,000 opening brackets is easily sent; looking for the partner of each from its place takes minutes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from functools import cached_property

_ATTRIBUTE = r"""\s++[A-Za-z_:][\w.:-]*+(?:\s*+=\s*+(?:[^\s"'=<>`]++|'[^']*+'|"[^"]*+"))?"""
TAG = re.compile(rf"<(/?)([A-Za-z][A-Za-z0-9-]*+)((?:{_ATTRIBUTE})*)\s*+/?>")
"""An opening or closing tag as CommonMark's inline text takes it: slash, name, attributes."""


class Pairs:
    """The partners in one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._brackets: dict[tuple[int, int, bool], dict[int, int]] = {}
        self._elements: dict[str, dict[int, int]] = {}

    @cached_property
    def _runs(self) -> dict[int, list[int]]:
        """Starts of the runs of backticks, by length."""
        runs = defaultdict(list)
        for match in re.finditer("`+", self.text):
            runs[len(match[0])].append(match.start())
        return runs

    def span_end(self, start: int, end: int) -> int | None:
        """Behind the code span that begins with the backticks at text[start:end]; None when it is never closed."""
        starts = self._runs.get(end - start, [])
        place = bisect_left(starts, end)
        return starts[place] + end - start if place < len(starts) else None

    def bracket_end(self, start: int, region: tuple[int, int], spans: bool) -> int | None:
        """Where the ] stands for the [ at `start`; code spans (where `spans`) and tags bind tighter."""
        if (*region, spans) not in self._brackets:
            self._brackets[*region, spans] = self._match_brackets(*region, spans)
        return self._brackets[*region, spans].get(start)

    def element_end(self, name: str, start: int) -> int | None:
        """Behind the tag that closes the element whose opening tag ends at `start`; None when it stays open."""
        if name not in self._elements:
            self._elements[name] = self._match_tags(name)
        return self._elements[name].get(start)

    def _match_brackets(self, at: int, end: int, spans: bool) -> dict[int, int]:
        found, opened = {}, []
        token = re.compile(r"\\.|`+|[<\[\]]", re.DOTALL)
        while match := token.search(self.text, at, end):
            at = match.end()
            tag = TAG.match(self.text, match.start(), end) if match[0] == "<" else None
            if tag:
                at = tag.end()
            elif match[0][0] == "`" and spans:
                close = self.span_end(match.start(), match.end())
                at = close if close is not None and close <= end else at
            elif match[0] == "[":
                opened.append(match.start())
            elif match[0] == "]" and opened:
                found[opened.pop()] = match.start()
        return found

    def _match_tags(self, name: str) -> dict[int, int]:
        found, opened = {}, []
        for match in re.compile(rf"<(/?){re.escape(name)}(?=[\s/>])[^<>]*+>", re.IGNORECASE).finditer(self.text):
            if not match[1]:
                opened.append(match.end())
            elif opened:
                found[opened.pop()] = match.end()
        return found


def without_spans(text: str) -> str:
    """The text without its code spans."""
    pairs, at = Pairs(text), 0
    kept: list[str] = []
    for match in re.finditer("`+", text):
        close = pairs.span_end(*match.span()) if match.start() >= at else None
        if close is not None:
            kept.append(text[at : match.start()])
            at = close
    return "".join([*kept, text[at:]])
