"""Untrusted text made safe to show: to a model what a person sees, and to GitHub nothing that calls anybody."""

from __future__ import annotations

import re

from agentd.github.characters import without_invisible
from agentd.github.markup import reveal

BODY_LIMIT = 65_536
"""Characters GitHub takes in a body; counted here as UTF-16 units, which are never fewer."""

# GitHub reads what Markdown leaves of a text: in `_@name_` and in an unclosed code span a mention stands at the start.
# What GitHub makes a link of by itself stays whole: it looks for mentions in no link.
_MENTION = re.compile(
    r"((?:^|(?<=[\s*_~(]))https?://(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}/[A-Za-z0-9._~/%+@-]*)"
    r"|(?<![A-Za-z0-9])@(?=[A-Za-z0-9])",
    re.MULTILINE,
)
_REFERENCE = re.compile(r"(?<!&)#(?=[0-9])|(?<![A-Za-z0-9])GH(?=-[0-9])", re.IGNORECASE)
# Possessive and bounded: a stranger's text is searched in a time that grows as its length does.
_CLOSES = re.compile(
    r"(?<![A-Za-z0-9])(clos|fix|resolv)(?=(?:e|es|ed|ing)?[\s:]++\S{0,200}?(?:#|GH-|https?://))", re.IGNORECASE
)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
BREAK = "\u200b"
"""Zero-width space: breaks a mention without being seen, in code too."""


def visible_text(markdown: str) -> str:
    """What a person sees of an issue or comment on GitHub; hidden text and invisible characters are gone.

    Code blocks and code spans stay as they are, apart from invisible characters. Applying it twice changes nothing.
    """
    return reveal(markdown)[0]


def hidden_parts(markdown: str) -> list[str]:
    """Names of the kinds of things that `visible_text` takes out, each once; empty for honest text."""
    return reveal(markdown)[1]


def neutralise_mentions(text: str) -> str:
    """The text, looking the same, in which @name calls nobody, #12 links nothing and "Fixes #12" closes nothing."""
    text = _CLOSES.sub(lambda match: match[1][0] + BREAK + match[1][1:], text)
    text = _REFERENCE.sub(lambda match: match[0] + BREAK, text)
    return _MENTION.sub(lambda match: match[1] or "@" + BREAK, text)


def fence(text: str, language: str = "") -> str:
    """A code block of the text, with a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def one_line(title: str, limit: int) -> str:
    """The text on one line without invisible characters, at most `limit` characters, cut with an ellipsis."""
    line = " ".join(without_invisible(title).split())
    return line if len(line) <= limit else line[: max(0, limit - 1)].rstrip() + "…"


def cut(body: str, limit: int = BODY_LIMIT, keep: str = "") -> str:
    """The body in at most `limit` UTF-16 units; what is cut is counted in a note, an open code block is closed.

    `keep` (a marker) is put at the end again when the cut would take it.
    """
    if _units(body) <= limit:
        return body
    room = limit - 200 - _units(keep)
    head = body.encode("utf-16-le", "surrogatepass")[: 2 * room].decode("utf-16-le", "ignore")
    note = f"\n\n*{len(body) - len(head)} characters more were cut: GitHub takes {limit}.*"
    end = f"\n\n{keep}" if keep and keep not in head else ""
    return head + _closing(head) + note + end


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _closing(text: str) -> str:
    """The end of the code block that is open at the end of the text; at most 100 characters."""
    open_fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None:
            continue
        if not open_fence:
            open_fence = match[1]
        elif match[1].startswith(open_fence) and not match[2].strip():
            open_fence = ""
    return f"\n{open_fence}" if open_fence and len(open_fence) < 100 else ""
