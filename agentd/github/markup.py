"""Takes out of GitHub's Markdown what a reader of the page does not see.

The blocks come from a CommonMark parser, so that a code block is what GitHub takes for one; inside a block the text
is read from left to right by CommonMark's rules for code spans, tags, links and images. In doubt a thing is taken
out. Sources: https://spec.commonmark.org/0.31.2/, https://github.github.com/gfm/ (tables, tag filter).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from agentd.github.blocks import Kind, Region, regions
from agentd.github.characters import invisible_kinds, is_invisible, without_invisible
from agentd.github.pairs import TAG, Pairs

PASSES = 8
"""What is taken out may leave something hidden behind ("<!<!-- -->--"); after that many tries all marks are escaped."""

LONGEST_NAME = 24
"""Characters of a tag's name."""

_LOOSE_TAG = re.compile(r"""<(/?)([A-Za-z][^\s/>]*+)((?:[^>"']|"[^"]*+"|'[^']*+')*+)>""")
_EACH_ATTRIBUTE = re.compile(r"""([^\s"'=<>/]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_AUTOLINK = re.compile(r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+)>")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NEXT = re.compile(r"\\[!-/:-@\[-`{-~]|`+|<|&|!\[|\]\(")
_TARGET = re.compile(
    r"""\(\s*+(<[^<>\n]*+>|[^\s()<]*+(?:\([^\s()]*+\)[^\s()]*+)*+)(\s++(?:"[^"]*+"|'[^']*+'|\([^()]*+\)))?\s*+\)"""
)
_REFERENCE = re.compile(r"\[[^\[\]]*+\]")
_HIDING_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0|font-size\s*:\s*0", re.IGNORECASE
)
_ENDS = (("<!--", "-->", 2), ("<?", "?>", 2), ("<![CDATA[", "]]>", 9), ("<!", ">", 2))

_UNSEEN = frozenset(
    re.findall(
        r"\w+",
        "script style template title head noscript iframe object svg math audio video canvas picture datalist "
        "noembed noframes xmp map ",
    )
)
"""Elements that GitHub drops or draws; their text goes with them. `details` is not one: a reader can open it."""
_VOID = frozenset(
    re.findall(
        r"\w+",
        "img source track input embed meta link area base param wbr ",
    )
)
_HARMLESS = frozenset(
    re.findall(
        r"\w+",
        "align width height open href src id class name colspan rowspan border target rel start type valign dir lang ",
    )
)
"""Attributes that are no place for text."""


def reveal(markdown: str) -> tuple[str, list[str]]:
    """(the visible text, names of the kinds of hidden things that were in it, each once)."""
    names = dict.fromkeys(invisible_kinds(markdown))
    text = without_invisible(markdown)
    for _ in range(PASSES):
        scan = _Scan(text)
        scan.run()
        names.update(dict.fromkeys(scan.names))
        shown = "".join(scan.out)
        if shown == text:
            return text, list(names)
        text = shown
    return text.replace("<", "‹").replace("[", "(").replace("&", "＆"), list(names)


@dataclass
class _Scan:
    """One pass over a text: what is kept goes to `out`, what is not is named in `names`."""

    text: str
    out: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    at: int = 0

    def __post_init__(self) -> None:
        self.pairs = Pairs(self.text)

    def run(self) -> None:
        for region in regions(self.text):
            self.at = max(self.at, region.start)
            if region.kind is Kind.gone:
                self.names.append(region.name)
                self.at = max(self.at, region.end)
            elif region.kind is Kind.code:
                self._keep(max(self.at, region.end))
            while self.at < region.end:
                self._step(region)

    def _step(self, region: Region) -> None:
        match = _NEXT.search(self.text, self.at, region.end)
        if match is None:
            self._keep(region.end)
            return
        self._keep(match.start())
        mark = match[0]
        if mark[0] == "`":
            close = self.pairs.span_end(*match.span()) if region.spans else None
            self._keep(match.end() if close is None or close > region.end else close)
        elif mark == "<":
            self._angle(region)
        elif mark == "&":
            self._entity(region.end)
        elif mark == "![":
            self._image(region)
        elif mark == "](":
            self._link_title(region.end)
        else:
            # A backslash escapes nothing inside HTML.
            self._keep(match.end() if region.kind is Kind.text else match.start() + 1)

    def _angle(self, region: Region) -> None:
        raw = region.kind is Kind.html
        for start, end, offset in _ENDS:
            if self.text.startswith(start, self.at) and (
                raw or start != "<!" or self.text[self.at + 2 : self.at + 3].isalpha()
            ):
                close = self.text.find(end, self.at + offset, region.end)
                if close < 0 and not raw:
                    break
                self._drop(region.end if close < 0 else close + len(end), "HTML comment")
                return
        link = None if raw else _AUTOLINK.match(self.text, self.at, region.end)
        if link:
            self._keep(link.end())
            return
        tag = (_LOOSE_TAG if raw else TAG).match(self.text, self.at, region.end)
        if tag:
            self._tag(tag)
        elif raw and re.match(r"</?[A-Za-z]", self.text[self.at : self.at + 3]):
            self._drop(region.end, "unfinished HTML tag")
        else:
            self._keep(self.at + 1)

    def _tag(self, tag: re.Match[str]) -> None:
        closing, name = tag[1], tag[2].lower()
        attributes = {key.lower(): (value or "").strip("\"'") for key, value in _EACH_ATTRIBUTE.findall(tag[3])}
        hidden = "hidden" in attributes or _HIDING_STYLE.search(attributes.get("style", "")) is not None
        if name in _VOID:
            said = name == "img" and (attributes.get("alt") or attributes.get("title"))
            self._drop(tag.end(), "image text" if said else "")
            return
        # GitHub shows such a tag as text, or ignores its attributes, when nothing closes it.
        end = self.pairs.element_end(name, tag.end()) if (hidden or name in _UNSEEN) and not closing else None
        if end is not None:
            self._drop(end, f"hidden <{name}>")
        else:
            said = any(key not in _HARMLESS for key in attributes)
            # GitHub drops the tags it does not know: `List<String>` may stay, a sentence in hyphens may not.
            known = name.isalnum() and len(name) <= LONGEST_NAME
            self.names += ["HTML attribute"] * said + ["unknown HTML tag"] * (not known)
            href = "" if closing or name != "a" else attributes.get("href", "").replace('"', "%22")
            target = f' href="{href}"' if href else ""
            self.out += [f"<{closing}{tag[2]}{target}>"] * known
            self.at = tag.end()

    def _entity(self, end: int) -> None:
        match = _ENTITY.match(self.text, self.at, end)
        if match and any(map(is_invisible, html.unescape(match[0]))):
            self._drop(match.end(), "invisible characters")
        else:
            self._keep(self.at + 1)

    def _image(self, region: Region) -> None:
        close = self.pairs.bracket_end(self.at + 1, (region.start, region.end), region.spans)
        if close is None:
            self._keep(self.at + 2)
            return
        target = _TARGET.match(self.text, close + 1, region.end)
        reference = _REFERENCE.match(self.text, close + 1, region.end)
        if target is None and reference is None:
            self._keep(self.at + 2)
            return
        if self.text[self.at + 2 : close].strip() or (target and target[2]):
            self.names.append("image text")
        after = target or reference
        assert after is not None
        self.out.append(f"![]({target[1]})" if target else f"![]{after[0]}")
        self.at = after.end()

    def _link_title(self, end: int) -> None:
        target = _TARGET.match(self.text, self.at + 1, end)
        if target and target[2]:
            self.out.append(f"]({target[1]})")
            self._drop(target.end(), "link title")
        else:
            self._keep(self.at + 1)

    def _keep(self, end: int) -> None:
        self.out.append(self.text[self.at : end])
        self.at = end

    def _drop(self, end: int, name: str) -> None:
        if name:
            self.names.append(name)
        self.at = end
