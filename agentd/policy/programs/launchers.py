"""Programs that run another one. Only useful when a policy lists them."""

from __future__ import annotations

import re

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Call, Refused

_VALUED = {
    "xargs": frozenset(["-n", "-P", "-I", "-L", "-d", "-E", "-s", "-a"]),
    "timeout": frozenset(["-s", "-k"]),
    "nice": frozenset(["-n"]),
    "stdbuf": frozenset(["-i", "-o", "-e"]),
}

_NEVER_STARTED = frozenset(
    [
        *_VALUED,
        *("bash", "sh", "dash", "git", "npm", "npx", "pnpm", "node", "python3", "find", "tar", "sed", "awk", "env"),
        *("nohup", "time", "setsid", "rm", "mv", "cp", "touch", "mkdir", "cd", "tee", "ln", "sort", "rg", "command"),
    ]
)
"""Their arguments are judged where they stand themselves, which is not here."""


def check(call: Call, rules: CommandRules) -> None:
    """What it starts must be on the list and be no launcher, shell or interpreter itself."""
    words = list(call.words[1:])
    while words and words[0].text.startswith("-"):
        option = words.pop(0)
        if not option.is_static or (call.name == "env" and option.text != "-i"):
            raise Refused(f"{call.name} {option}: this option is not allowed")
        if option.text in _VALUED.get(call.name, ()):
            words = words[1:]
    if call.name == "timeout" and words and re.fullmatch(r"[0-9.]+[smhd]?", words[0].text):
        words = words[1:]
    if not words:
        if call.name in ("env", "xargs"):
            return
        raise Refused(f"{call.name}: there is no command after it")
    name = words[0]
    if not name.is_static or name.text not in rules.names - _NEVER_STARTED:
        raise Refused(f"{call.name} may not start '{name}'; run '{name}' itself")
