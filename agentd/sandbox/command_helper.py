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
    answers: dict[str, Judgement | None] = {command: _refusal(command, rules) for command in set(commands)}
    trees = _Trees(program)
    trees.fetch([(command, dialect) for command, answer in answers.items() if answer is None])
    trees.deferring = True
    for _ in range(2):
        # Texts within texts (`bash -c '...'`) become known in the first round and are parsed together after it.
        for command, answer in answers.items():
            if answer is None:
                answers[command] = _judged(command, rules, trees.parse, dialect)
        trees.fetch(sorted(trees.wanted))
        trees.deferring = False
    return [answer for command in commands if (answer := answers[command])]


class _Later(Exception):
    """The text will be parsed with others."""


class _Trees:
    """Trees by text and dialect."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._trees: dict[tuple[str, Dialect], dict[str, Any] | None] = {}
        self.wanted: set[tuple[str, Dialect]] = set()
        self.deferring = False

    def fetch(self, texts: list[tuple[str, Dialect]]) -> None:
        """Parse them together; what that does not give is left to `parse`."""
        for dialect in ("bash", "posix"):
            its = [text for text, its_dialect in texts if its_dialect == dialect]
            found = parse_batch(self._program, its, dialect)
            self._trees |= {(text, dialect): tree for text, tree in zip(its, found, strict=True)}

    def parse(self, text: str, dialect: Dialect) -> dict[str, Any]:
        """The tree of a text. Raises Refused, or _Later while deferring."""
        tree = self._trees.get((text, dialect))
        if tree is None and self.deferring and (text, dialect) not in self._trees:
            self.wanted.add((text, dialect))
            raise _Later
        return tree if tree is not None else parse(self._program, text, dialect)


def _refusal(command: str, rules: CommandRules) -> Judgement | None:
    try:
        first_look(command, rules)
    except Refused as refusal:
        return Judgement("deny", str(refusal))
    except Exception as error:
        return _unjudged(error)
    return None


def _judged(command: str, rules: CommandRules, parsed: Parse, dialect: Dialect) -> Judgement | None:
    try:
        return judge(command, rules, parsed, dialect)
    except _Later:
        return None
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
