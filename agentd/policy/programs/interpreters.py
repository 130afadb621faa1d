"""node and python3: opaque, but what they are given must be known."""

from __future__ import annotations

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Call, Refused

_CODE = frozenset(["-c", "-e", "-p", "-m", "--eval", "--print"])


def check(call: Call, rules: CommandRules) -> None:
    """The code or script must be static; later operands are data for it."""
    deciding = True
    code_follows = False
    for word in call.words[1:]:
        if deciding and not word.is_static:
            raise Refused(f"{call.name}: '{word}' decides what runs and is not known before; write it out")
        if word.splits:
            raise Refused(f"{call.name}: quote '{word}', so that it stays one argument")
        if not word.text.startswith("-") or code_follows:
            deciding = False
        code_follows = word.text in _CODE
