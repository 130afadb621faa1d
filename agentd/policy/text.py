"""What a command's characters must be, before any parser sees them."""

from __future__ import annotations

import re
import unicodedata

from agentd.policy.script import Refused

MAX_BYTES = 64 * 1024
"""More is no command that a person could read."""

_SPLIT_WORD = re.compile(r"[^ \t\n]\\\n")
_INVISIBLE = frozenset(["Cc", "Cf", "Zl", "Zp", "Cn", "Co", "Cs"])


def check_text(command: str) -> None:
    """Raises Refused for what shells, parsers and people read differently.

    Controls other than tab and newline (NUL ends a string for some layers, CR hides text in logs), bidirectional and
    zero-width characters, unassigned ones, spaces that only look like one, and a backslash at a line's end that joins
    two halves of a word: shells see `$(` in its halves where a parser may not.
    """
    if len(command) > MAX_BYTES or len(command.encode(errors="surrogatepass")) > MAX_BYTES:
        raise Refused(f"the command is longer than {MAX_BYTES} bytes; put it into a script file")
    if _SPLIT_WORD.search(command):
        raise Refused("a backslash at the end of a line joins the halves of a word; write the word on one line")
    for character in command:
        if character in "\t\n" or " " <= character <= "~":
            continue
        category = unicodedata.category(character)
        if category in _INVISIBLE or category == "Zs":
            raise Refused(f"the character U+{ord(character):04X} is invisible or looks like a space; leave it away")
