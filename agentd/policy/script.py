"""A shell script as far as the policy looks at it: the calls in it, whatever stands around them."""

from __future__ import annotations

import re
from dataclasses import dataclass


class Refused(Exception):
    """The command may not run; the message says which word is why, and what would be allowed."""


_NAMED_OPTION = re.compile(r"-[^=*?\[{]*=")


@dataclass(frozen=True)
class Word:
    """One word of a call after quotes and escapes."""

    text: str
    """the static text; of a dynamic word only what stands before its first expansion"""
    dynamic: bool = False
    """has an expansion whose value nobody knows yet"""
    splits: bool = False
    """dynamic and not quoted, or `"$@"`, so that it may become several words or none"""
    pattern: bool = False
    """has an unquoted glob, brace or leading tilde: the shell replaces it"""

    @property
    def is_static(self) -> bool:
        return not self.dynamic and not self.pattern

    @property
    def may_be_option(self) -> bool:
        """Whether an option may come of it although none stands there: several words, or a dash at its start.

        What comes of `--exclude=*.pyc` are more of the same option.
        """
        by_expansion = self.splits or (self.dynamic and self.text in ("", "-"))
        is_one = _NAMED_OPTION.match(self.text) is not None
        return by_expansion or (self.pattern and not is_one and self.text.startswith(("*", "?", "[", "{", "-")))

    def __str__(self) -> str:
        return f"{self.text}…" if self.dynamic else self.text


@dataclass(frozen=True)
class Assignment:
    """`NAME=value`, before a call or alone."""

    name: str
    value: Word


@dataclass(frozen=True)
class Redirect:
    """A redirection; `body` is a here-document's or here-string's text."""

    operator: str
    target: Word
    body: Word | None = None
    raw: bool = False
    """the delimiter was quoted: the body is taken as it stands"""


@dataclass(frozen=True)
class Call:
    """One simple command: at least one word, or assignments only."""

    words: tuple[Word, ...]
    assignments: tuple[Assignment, ...] = ()
    redirects: tuple[Redirect, ...] = ()

    @property
    def name(self) -> str:
        return self.words[0].text if self.words else ""


@dataclass(frozen=True)
class Script:
    """Every call anywhere in a script, substitutions and here-documents included, and redirects of groups."""

    calls: tuple[Call, ...]
    redirects: tuple[Redirect, ...]
    variables: tuple[str, ...]
    """names that loops assign"""
