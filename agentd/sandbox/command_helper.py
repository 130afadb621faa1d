"""The process that parses commands: a parser that loops or eats memory ends this one and no other.

Speaks JSON lines on standard input, which is a socket: a Request in, a list of [verdict, reason] out.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
from typing import Any

from agentd.policy.allowlist import CommandRules
from agentd.policy.judgement import Dialect, Judgement, Parse, first_look, judge
from agentd.policy.script import Refused
from agentd.sandbox.shfmt import parse, parse_batch

MEMORY_BYTES = 512 * 1024 * 1024


def judge_all(program: str, commands: list[str], rules: CommandRules, dialect: Dialect) -> list[Judgement]:
    """The judgements in order; what passes the first look is parsed by few processes. `program` is shfmt."""
    refused = {command: _refusal(command, rules) for command in set(commands)}
    candidates = [command for command, refusal in refused.items() if refusal is None]
    trees = dict(zip(candidates, parse_batch(program, candidates, dialect), strict=True))

    def parsed(text: str, its_dialect: Dialect) -> dict[str, Any]:
        tree = trees.get(text) if its_dialect == dialect else None
        return tree if tree is not None else parse(program, text, its_dialect)

    return [refused[command] or _judged(command, rules, parsed, dialect) for command in commands]


def _refusal(command: str, rules: CommandRules) -> Judgement | None:
    try:
        first_look(command, rules)
    except Refused as refusal:
        return Judgement("deny", str(refusal))
    except Exception as error:
        return _unjudged(error)
    return None


def _judged(command: str, rules: CommandRules, parsed: Parse, dialect: Dialect) -> Judgement:
    try:
        return judge(command, rules, parsed, dialect)
    except Exception as error:
        return _unjudged(error)


def _unjudged(error: Exception) -> Judgement:
    """Whatever a parser's answer does to the policy, the command does not run."""
    return Judgement("deny", f"it could not be judged ({type(error).__name__}); write it as simpler commands")


def main() -> None:
    """Answers until the socket is closed. The limit holds for shfmt too, which inherits it."""
    # Not RLIMIT_AS: shfmt's runtime reserves more addresses than it will ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    program = sys.argv[1]
    with socket.socket(fileno=0) as connection, connection.makefile("rw", encoding="utf-8") as stream:
        for line in stream:
            asked = json.loads(line)
            rules = CommandRules(frozenset(asked["allowed"]), asked["inert"], asked["workspace"])
            answers = judge_all(program, asked["commands"], rules, asked["dialect"])
            stream.write(json.dumps([[answer.verdict, answer.reason] for answer in answers]) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
