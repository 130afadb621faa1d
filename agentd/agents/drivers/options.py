"""The command line that all drivers have."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from .approval import Judge


@dataclass(frozen=True)
class Order:
    """What to do."""

    prompt: str
    argv: tuple[str, ...]
    """the agent's program and its arguments"""
    judge: Judge
    resume: str = ""
    model: str = ""
    sandbox: str = ""
    """codex's name of the sandbox of its own that it shall use"""

    @property
    def workspace(self) -> str:
        return self.judge.workspace


def order(arguments: list[str]) -> Order:
    """The order that the arguments and standard input give; the workspace is the current directory."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--resume", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--sandbox", default="")
    parser.add_argument("--hook", action="append", default=[], help="one word of the program that judges; repeated")
    parser.add_argument("argv", nargs="+")
    given = parser.parse_args(arguments)
    prompt = sys.stdin.buffer.read().decode(errors="replace")
    judge = Judge(str(Path.cwd()), tuple(given.hook))
    return Order(prompt, tuple(given.argv), judge, given.resume, given.model, given.sandbox)
