"""Builtins of the shell."""

from __future__ import annotations

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
    for word in call.words[1:]:
        if word.text in ("-v", "-R") or "$(" in word.text or "`" in word.text or word.splits:
            raise Refused(f"{call.name}: '{word}' may be evaluated; quote expansions and use -f, -n, -z, = or -eq")


def check_printf(call: Call, rules: CommandRules) -> None:
    """`printf -v` assigns to a name that is evaluated."""
    if len(call.words) > 1 and (call.words[1].text.startswith("-v") or call.words[1].splits):
        raise Refused("printf -v is not allowed; print to standard output")


def check_command(call: Call, rules: CommandRules) -> None:
    """`command -v NAME` only asks."""
    if len(call.words) < 2 or call.words[1].text not in ("-v", "-V") or not call.words[1].is_static:
        raise Refused("command is allowed only as 'command -v NAME'; name the program itself")


def check_never(call: Call, rules: CommandRules) -> None:
    """Builtins that run text, or change what later words mean."""
    raise Refused(f"'{call.name}' changes what later words mean, and no list can allow it; use the command itself")
