"""Characters that a reader does not see but a model reads: which they are, and text without them.

Sources: Unicode's Default_Ignorable_Code_Point; CVE-2021-42574 (bidirectional controls); "ASCII smuggling" with the
tags block U+E0000 and with variation selectors.
"""

from __future__ import annotations

import re
import unicodedata

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_EMOJI_JOINTS = re.compile("(?<=[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff#*0-9])\ufe0f?\u200d?")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")


def is_invisible(character: str) -> bool:
    """Whether nobody sees it: controls except newline and tab, format characters, fillers, selectors, unassigned."""
    if character in "\n\t":
        return False
    return (
        unicodedata.category(character) in _CATEGORIES
        or character in _BLANK_LETTERS
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def without_invisible(text: str) -> str:
    """The text with \\n line ends and no invisible character."""
    text = _LINE_ENDS.sub("\n", text)
    return text.translate(dict.fromkeys(ord(c) for c in set(text) if is_invisible(c)))


def invisible_kinds(text: str) -> list[str]:
    """The kinds of invisible characters in it, for a report. Those that hold an emoji together are not worth a word."""
    rest = _EMOJI_JOINTS.sub("", _LINE_ENDS.sub("\n", text))
    return sorted({_kind(c) for c in set(rest) if is_invisible(c)})


def _kind(character: str) -> str:
    if character in _BIDI:
        return "bidirectional controls"
    if "\U000e0000" <= character <= "\U000e007f":
        return "tag characters"
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return "variation selectors"
    return "control characters" if unicodedata.category(character) == "Cc" else "invisible characters"
