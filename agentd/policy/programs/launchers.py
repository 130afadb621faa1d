"""Programs that run another one. Only useful when a policy lists them."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import NamedTuple

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Call, Refused, Word


class _Options(NamedTuple):
    """The options a launcher may be told: where they end is where the program stands that it starts."""

    flags: str = ""
    attached: str = ""
    """letters whose value, if any, is the rest of the word"""
    valued: str = ""
    """letters whose value is the rest of the word, or else the next word"""
    long_flags: tuple[str, ...] = ()
    long_valued: tuple[str, ...] = ()
    """only with `=`"""


_OPTIONS = {
    "xargs": _Options(
        "0rtpxo",
        "eil",
        "nPILdEsa",
        ("--null", "--no-run-if-empty", "--verbose", "--exit", "--interactive", "--open-tty", "--eof", "--replace"),
        (
            *("--arg-file", "--delimiter", "--eof", "--replace"),
            *("--max-lines", "--max-args", "--max-procs", "--max-chars"),
        ),
    ),
    "env": _Options("i"),
    "nohup": _Options(),
    "timeout": _Options(
        "v", "", "sk", ("--preserve-status", "--foreground", "--verbose"), ("--signal", "--kill-after")
    ),
    "nice": _Options("0123456789", "", "n", (), ("--adjustment",)),
    "time": _Options(),
    "stdbuf": _Options("", "", "ioe", (), ("--input", "--output", "--error")),
    "setsid": _Options("cfw", "", "", ("--ctty", "--fork", "--wait")),
}
NAMES = tuple(_OPTIONS)


def check(call: Call, rules: CommandRules, judged: Set[str]) -> None:
    """What it starts must be on the list and none of `judged`, programs whose arguments are judged where they stand."""
    words = _after_options(call)
    if call.name == "timeout" and words and re.fullmatch(r"[0-9.]+[smhd]?", words[0].text):
        words = words[1:]
    if not words:
        if call.name in ("env", "xargs"):
            return
        raise Refused(f"{call.name}: there is no command after it")
    name = words[0]
    if not name.is_static or name.text not in rules.names - judged:
        raise Refused(f"{call.name} may not start '{name}'; run '{name}' itself")


def _after_options(call: Call) -> list[Word]:
    options, words = _OPTIONS[call.name], list(call.words[1:])
    while words and words[0].text.startswith("-"):
        option = words.pop(0)
        if not option.is_static:
            raise Refused(f"{call.name} {option}: this option is not allowed")
        if option.text == "--":
            break
        if _takes_next(call.name, option.text, options):
            words = words[1:]
    return words


def _takes_next(program: str, option: str, options: _Options) -> bool:
    """Whether the next word is this option's value. Raises Refused for one that is not known."""
    if option.startswith("--"):
        name, has_value, _ = option.partition("=")
        is_known, takes_next = name in (options.long_valued if has_value else options.long_flags), False
    else:
        left = option[1:].lstrip(options.flags)
        is_known = option != "-" and left[:1] in options.attached + options.valued
        takes_next = len(left) == 1 and left in options.valued
    if not is_known:
        raise Refused(f"{program} {option}: this option is not allowed, or its value must stand after '='")
    return takes_next
