"""Builtins of the shell."""

from __future__ import annotations

from itertools import zip_longest

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Call, Refused

NEVER = (
    *("eval", "source", ".", "exec", "trap", "alias", "unalias", "hash", "enable", "builtin", "let", "read", "mapfile"),
    *(
        "export",
        "declare",
        "typeset",
        "readonly",
        "local",
        "unset",
        "set",
        "shopt",
        "readarray",
        "complete",
        "bind",
        "fc",
    ),
)
"""Refused whatever the list says."""


def check_test(call: Call, rules: CommandRules) -> None:
    """`test` and `[`: some operators evaluate array subscripts, and with them commands."""
    for word, operand in zip_longest(call.words[1:], call.words[2:]):
        if word.text in ("-v", "-R") or "$(" in word.text or "`" in word.text or word.splits:
            raise Refused(f"{call.name}: '{word}' may be evaluated; quote expansions and use -f, -n, -z, = or -eq")
        if not word.may_be_option:
            continue
        if word.pattern:
            raise Refused(f"{call.name}: '{word}' may become operators; begin it with ./, or write it out")
        # It may be -v, which evaluates the subscript in what follows: an operator has none, nor has "]".
        if operand is not None and (not operand.is_static or "[" in operand.text):
            raise Refused(f"{call.name}: '{word}' may be -v for '{operand}'; write the operator out: -n, -z, = or -eq")


def check_printf(call: Call, rules: CommandRules) -> None:
    """`printf -v` assigns to a name that is evaluated."""
    if len(call.words) > 1 and (call.words[1].text.startswith("-v") or call.words[1].may_be_option):
        raise Refused("printf may be told -v NAME, which is not allowed; begin with a format: printf '%s' or printf --")


def check_command(call: Call, rules: CommandRules) -> None:
    """`command -v NAME` only asks."""
    if len(call.words) < 2 or call.words[1].text not in ("-v", "-V") or not call.words[1].is_static:
        raise Refused("command is allowed only as 'command -v NAME'; name the program itself")


def check_never(call: Call, rules: CommandRules) -> None:
    """Builtins that run text, or change what later words mean."""
    raise Refused(f"'{call.name}' changes what later words mean, and no list can allow it; use the command itself")
