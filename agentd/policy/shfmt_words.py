"""Words of shfmt's tree: quotes and escapes taken off, expansions found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentd.policy.script import Refused, Word

Node = dict[str, Any]
Statements = Callable[[list[Node] | None], None]

_OPERATORS = frozenset([":-", "-", ":+", "+", "#", "##", "%", "%%"])
"""Expansions that only choose or cut text; the others assign, evaluate or end the shell."""


@dataclass
class _Text:
    """A word while it is put together; the static text ends at the first expansion."""

    static: str = ""
    dynamic: bool = False
    splits: bool = False
    pattern: bool = False

    def add(self, text: str) -> None:
        if not self.dynamic:
            self.static += text


def read_word(node: Node, statements: Statements, *, here: bool = False, raw: bool = False) -> Word:
    """A Word node; what it substitutes is given to `statements`. Raises Refused.

    `here`: the body of a here-document, which is like text in double quotes; `raw`: its delimiter was quoted.
    """
    known(node, "Parts")
    text = _Text()
    for number, part in enumerate(node.get("Parts") or ()):
        if raw:
            text.add(_literal(part))
        elif here:
            _quoted(part, text, statements, r"[$`\\]")
        else:
            _part(part, text, statements, first=number == 0)
    lone_bracket = text.static in ("[", "]") and len(node.get("Parts") or ()) == 1
    return Word(text.static, text.dynamic, text.splits, text.pattern and not lone_bracket)


def _part(part: Node, text: _Text, statements: Statements, *, first: bool) -> None:
    kind = part["Type"]
    if kind == "Lit":
        _unquoted(_literal(part), text, first=first)
    elif kind == "SglQuoted":
        known(part, "Value")  # refuses $'...', which dash reads as a dollar sign and a shorter string
        text.add(part.get("Value") or "")
    elif kind == "DblQuoted":
        known(part, "Parts")  # refuses $"...", which a message catalogue may change
        for each in part.get("Parts") or ():
            _quoted(each, text, statements, r'[$`"\\]')
    else:
        text.splits = text.splits or not _is_number(part)
        _expansion(part, text, statements)


def _quoted(part: Node, text: _Text, statements: Statements, escapable: str) -> None:
    if part["Type"] == "Lit":
        text.add(re.sub(rf"\\({escapable}|\n)", lambda found: found[1].strip("\n"), _literal(part)))
    else:
        _expansion(part, text, statements)


def _unquoted(value: str, text: _Text, *, first: bool) -> None:
    if first and value.startswith("~"):
        text.pattern = True
    # `{}` alone is a word of its own to every shell.
    plain = re.sub(r"\\.", "", value, flags=re.DOTALL).replace("{}", "")
    # Braces may be spread over several parts of a word, so one alone is enough.
    if any(character in plain for character in "*?[{}") or "=~" in plain or ":~" in plain:
        text.pattern = True
    if value.endswith("\\") and not value.endswith("\\\\"):
        raise Refused("a backslash at the very end; take it away")
    text.add(re.sub(r"\\(.)", lambda found: found[1].strip("\n"), value, flags=re.DOTALL))


def _expansion(part: Node, text: _Text, statements: Statements) -> None:
    text.dynamic = True
    kind = part["Type"]
    if kind == "CmdSubst":
        known(part, "Stmts", "Backquotes")
        statements(part.get("Stmts"))
    elif kind == "ProcSubst":
        known(part, "Op", "Stmts")
        statements(part.get("Stmts"))
    elif kind == "ParamExp":
        text.splits = text.splits or _is_list([part])
        _parameter(part, statements)
    elif kind == "ArithmExp":
        raise Refused("arithmetic $((...)) may run what stands in a subscript; it is not allowed")
    else:
        raise Refused(f"this expansion is not allowed ({kind}); write the words out")


def _parameter(part: Node, statements: Statements) -> None:
    name = part["Param"]["Value"]
    try:
        known(part, "Short", "Param", "Length", "Exp")
    except Refused:
        raise Refused(
            f"${{{name}...}}: this form may evaluate its value; use ${name} or ${{{name}:-default}}"
        ) from None
    operation = part.get("Exp")
    if operation:
        if operation["Op"] not in _OPERATORS:
            raise Refused(f"${{{name}{operation['Op']}...}} may run or change something; use ${{{name}:-default}}")
        if operation.get("Word"):
            read_word(operation["Word"], statements)


def _is_number(part: Node) -> bool:
    """Whether it is `$?`, `$#` or `$$`: one word always, of digits."""
    return part["Type"] == "ParamExp" and part["Param"]["Value"] in ("?", "#", "$") and not part.get("Exp")


def _is_list(parts: list[Node]) -> bool:
    """Whether `$@` is in an expansion: in quotes too it becomes a word for each argument of the shell."""
    for part in parts:
        if part["Type"] == "ParamExp":
            if part["Param"]["Value"] == "@" and not part.get("Length"):
                return True
            inner = ((part.get("Exp") or {}).get("Word") or {}).get("Parts")
        else:
            inner = part.get("Parts")
        if _is_list(inner or []):
            return True
    return False


def _literal(part: Node) -> str:
    known(part, "Value")
    if part["Type"] != "Lit":
        raise Refused(f"this text is not plain ({part['Type']}); use plain commands")
    return str(part.get("Value") or "")


def known(node: Node, *allowed: str) -> None:
    """Raises Refused for a key with content that the policy does not know; positions carry none."""
    for key, value in node.items():
        if key in allowed or key in ("Type", "Comments", "Last") or value in (None, False, [], ""):
            continue
        if isinstance(value, dict) and set(value) <= {"Offset", "Line", "Col"}:
            continue
        raise Refused(f"this shell syntax is not allowed ({node.get('Type', 'word')}.{key}); use plain words")
