"""bash and sh: a static text is judged like a command, a script file in the workspace is opaque, the rest refused."""

from __future__ import annotations

from typing import Literal

from agentd.policy.allowlist import CommandRules
from agentd.policy.paths import check_inside
from agentd.policy.script import Call, Refused

_LETTERS = frozenset("euxvnfhBCE")
_LONG = frozenset(["--noprofile", "--norc", "--posix", "--version", "--help", "--verbose"])


def check(call: Call, rules: CommandRules) -> list[tuple[str, Literal["bash", "posix"]]]:
    """The text that the shell will run, if it is given one."""
    dialect: Literal["bash", "posix"] = "bash" if call.name == "bash" else "posix"
    words = list(call.words[1:])
    text_follows = False
    while words and words[0].text.startswith(("-", "+")) and not words[0].dynamic:
        option = words.pop(0).text
        if option == "--":
            break
        if option in ("--version", "--help"):
            return []
        if option in _LONG:
            continue
        letters = set(option[1:])
        if option.startswith("--") or not letters or not letters <= _LETTERS | {"c", "o", "l"}:
            raise Refused(f"{call.name} {option}: this option is not allowed; give a text with -c, or a script file")
        # Each takes a word of its own: `-oo errexit pipefail`.
        words = words[option.count("o") :]
        text_follows = text_follows or "c" in letters
    if text_follows:
        if not words or not words[0].is_static:
            raise Refused(f"{call.name} -c: the text is not known before it runs; write it out in single quotes")
        return [(words[0].text, dialect)]
    if words:
        if not words[0].is_static:
            raise Refused(f"{call.name}: the script '{words[0]}' is not known before it runs; write its name out")
        check_inside(words[0], rules, call.name)
        return []
    return [(_standard_input(call), dialect)]


def _standard_input(call: Call) -> str:
    inputs = [redirect for redirect in call.redirects if redirect.operator in ("<", "<&", "<>", "<<", "<<-", "<<<")]
    body = inputs[0].body if len(inputs) == 1 else None
    if body is None or body.dynamic or body.pattern or inputs[0].operator == "<<-":
        raise Refused(f"{call.name} would run its standard input, which is not known; use -c 'TEXT' or a script file")
    if not inputs[0].raw and "\\" in body.text:
        raise Refused(f"{call.name}: quote the delimiter of the here-document (<<'EOF'), so that its text is certain")
    return body.text
