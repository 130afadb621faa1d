"""From a parsed script to yes or no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agentd.policy.allowlist import CommandRules
from agentd.policy.environment import check_assignment, check_name
from agentd.policy.paths import check_redirect
from agentd.policy.programs import check_program
from agentd.policy.script import Call, Refused, Script
from agentd.policy.second_vote import programs
from agentd.policy.shfmt_tree import read_script
from agentd.policy.text import check_text

Dialect = Literal["bash", "posix"]
Parse = Callable[[str, Dialect], dict[str, Any]]
"""shfmt's tree of a text; raises Refused for what does not parse."""

MAX_DEPTH = 4


@dataclass(frozen=True)
class Judgement:
    """What becomes of one command."""

    verdict: Literal["allow", "deny"]
    reason: str


def judge(command: str, rules: CommandRules, parse: Parse, dialect: Dialect = "bash") -> Judgement:
    """The judgement of one command; never raises Refused. `dialect` is that of the shell that will run it."""
    try:
        count = check_script(command, rules, parse, dialect)
    except Refused as refusal:
        return Judgement("deny", str(refusal))
    return Judgement("allow", f"{count} call(s) of allowed commands")


def first_look(command: str, rules: CommandRules) -> list[str]:
    """The cheap part, before shfmt is asked: characters and the second vote. The programs seen. Raises Refused."""
    check_text(command)
    if not command.strip():
        raise Refused("there is no command")
    return programs(command, rules)


def check_script(command: str, rules: CommandRules, parse: Parse, dialect: Dialect, depth: int = 0) -> int:
    """How many calls there are, all of them allowed. Raises Refused."""
    if depth > MAX_DEPTH:
        raise Refused("shells within shells, too deep; put it into a script file")
    seen = first_look(command, rules)
    script = read_script(parse(command, dialect))
    if sorted(call.name for call in script.calls if call.words) != seen:
        raise Refused("two parsers read this differently; write it as simpler commands")
    return check_calls(script, rules, parse, depth)


def check_calls(script: Script, rules: CommandRules, parse: Parse, depth: int = 0) -> int:
    """How many calls there are, all of them allowed. Raises Refused."""
    for name in script.variables:
        check_name(name)
    for redirect in script.redirects:
        check_redirect(redirect, rules)
    count = 0
    for call in script.calls:
        for text, dialect in _check_call(call, rules):
            count += check_script(text, rules, parse, dialect, depth + 1)
        count += bool(call.words)
    if not count:
        raise Refused("there is no command to run")
    return count


def _check_call(call: Call, rules: CommandRules) -> list[tuple[str, Dialect]]:
    """The scripts that the call gives to a shell."""
    for assignment in call.assignments:
        check_assignment(assignment, alone=not call.words)
    for redirect in call.redirects:
        check_redirect(redirect, rules)
    if not call.words:
        if call.redirects:
            raise Refused("there is no command; a redirection alone only empties a file")
        return []
    if not call.words[0].is_static:
        raise Refused(f"the program '{call.words[0]}' is not known before it runs; write its name out")
    if call.name not in rules.names:
        raise Refused(f"'{call.name}' is not an allowed command; allowed: {rules.offer()}")
    return check_program(call, rules)
