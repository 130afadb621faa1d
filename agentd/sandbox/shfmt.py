"""shfmt, one process a text or a batch, with limits on its time and memory."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from agentd.errors import ConfigurationError
from agentd.policy.judgement import Dialect
from agentd.policy.script import Refused

TIMEOUT_SECONDS = 1.0
MAX_TREE_BYTES = 32 * 1024 * 1024


def find_shfmt() -> str:
    """The program that the package shfmt-py installed, or the system's. Raises ConfigurationError."""
    beside = Path(sys.executable).with_name("shfmt")
    found = str(beside) if beside.is_file() else shutil.which("shfmt")
    if found is None:
        raise ConfigurationError("shfmt is not installed; install agentd's dependencies (pip install shfmt-py)")
    return found


def parse(program: str, text: str, dialect: Dialect, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """The tree of one text. Raises Refused for what does not parse, takes too long or cannot be read."""
    try:
        done = subprocess.run(
            [program, "--to-json", "-ln", dialect],
            input=text.encode(),
            capture_output=True,
            timeout=timeout_seconds,
            env={},
        )
    except subprocess.TimeoutExpired:
        raise Refused("it took too long to parse; write it as simpler commands") from None
    except OSError as error:
        raise Refused(f"the parser could not be started ({error}); nothing is allowed until it can") from None
    if done.returncode or len(done.stdout) > MAX_TREE_BYTES:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(f"it does not parse: {said[0].removeprefix('<standard input>:')[:200] if said else 'no answer'}")
    try:
        tree = json.loads(done.stdout)
    except (ValueError, RecursionError):
        raise Refused("the parser's answer could not be read; write it as simpler commands") from None
    if not isinstance(tree, dict) or tree.get("Type") != "File":
        raise Refused("the parser's answer could not be read; write it as simpler commands")
    return tree


def parse_batch(program: str, texts: list[str], dialect: Dialect) -> list[dict[str, Any] | None]:
    """The trees of several texts by few processes; None where a text must be parsed alone.

    Each text is followed by a line with a word that nobody can guess. Where that word comes out as a call of its own
    between statements, the parser was between statements there, with no here-document open, and so the text before it
    was whole and had no part in the next one. A batch in which a mark is missing is halved.
    """
    trees: list[dict[str, Any] | None] = [None] * len(texts)
    halves = [list(range(len(texts)))]
    while halves:
        chosen = halves.pop()
        if len(chosen) < 2:
            continue
        parsed = _parse_joined(program, [texts[number] for number in chosen], dialect)
        if parsed is None:
            halves += [chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]]
        else:
            for number, tree in zip(chosen, parsed, strict=True):
                trees[number] = tree
    return trees


def _parse_joined(program: str, texts: list[str], dialect: Dialect) -> list[dict[str, Any]] | None:
    marks = [f"mark_{secrets.token_hex(16)}" for _ in texts]
    joined = "".join(f"{text}\n{mark}\n" for text, mark in zip(texts, marks, strict=True))
    try:
        statements = parse(program, joined, dialect).get("Stmts") or []
    except Refused:
        return None
    trees, start = [], 0
    for mark in marks:
        end = next((at for at in range(start, len(statements)) if _is_mark(statements[at], mark)), None)
        if end is None:
            return None
        trees.append({"Type": "File", "Stmts": statements[start:end]})
        start = end + 1
    return trees if start == len(statements) else None


def _is_mark(statement: dict[str, Any], mark: str) -> bool:
    command = statement.get("Cmd") or {}
    words = command.get("Args") or []
    said = {key for key, value in statement.items() if value and key not in ("Pos", "End", "Position", "Comments")}
    if said - {"Cmd", "Semicolon"} or command.get("Type") != "CallExpr" or command.get("Assigns") or len(words) != 1:
        return False
    parts = words[0].get("Parts") or []
    return len(parts) == 1 and parts[0].get("Type") == "Lit" and parts[0].get("Value") == mark
