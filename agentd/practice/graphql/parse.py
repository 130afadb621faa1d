"""Reads a GraphQL document into fields; no types, no validation beyond the grammar that is used."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"|\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|[!$():=@\[\]{|}]')
WORDS = {"true": True, "false": False, "null": None}


@dataclass
class Field:
    name: str
    alias: str
    args: dict[str, Any] = field(default_factory=dict)
    fields: list[Field] = field(default_factory=list)
    """Empty for a leaf."""


@dataclass
class Document:
    kind: str
    """query or mutation"""
    fields: list[Field]


class Unreadable(Exception):
    """The document is not understood; the message says where."""


class Parser:
    """State: the tokens still to be read, and the values of the variables."""

    def __init__(self, text: str, variables: dict[str, Any]) -> None:
        without_comments = re.sub(r"#[^\n]*", "", text)
        self.tokens = TOKEN.findall(without_comments)
        self.variables = dict(variables)
        self.fragments: dict[str, list[Field]] = {}
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise Unreadable(f"Expected {expected or 'more'}, got {token or 'the end'}")
        self.at += 1
        return token

    def document(self) -> Document:
        """The first operation; named fragments are found wherever they stand."""
        found: Document | None = None
        self.find_fragments()
        while self.peek():
            if self.peek() == "fragment":
                self.skip_fragment()
                continue
            kind = "query" if self.peek() == "{" else self.next()
            if self.peek() not in ("{", "("):
                self.next()
            if self.peek() == "(":
                self.definitions()
            document = Document(kind, self.selection())
            found = found or document
        if found is None:
            raise Unreadable("A query attribute must be specified and must be a string.")
        return found

    def find_fragments(self) -> None:
        for index, token in enumerate(self.tokens[:-4]):
            if token == "fragment" and self.tokens[index + 2] == "on":
                self.at = index + 4
                self.fragments[self.tokens[index + 1]] = self.selection()
        self.at = 0

    def skip_fragment(self) -> None:
        self.at += 4
        self.selection()

    def definitions(self) -> None:
        """($name: Type! = default, ...)"""
        self.next("(")
        name = ""
        while self.peek() != ")":
            if self.next() == "=":
                value = self.value()
                self.variables.setdefault(name, value)
            elif self.tokens[self.at - 1] == "$":
                name = self.next()
        self.next(")")

    def selection(self) -> list[Field]:
        self.next("{")
        fields: list[Field] = []
        while self.peek() != "}":
            if self.peek() == "...":
                self.next()
                fields += self.spread()
                continue
            name = alias = self.next()
            if self.peek() == ":":
                self.next()
                name = self.next()
            args = self.arguments() if self.peek() == "(" else {}
            fields.append(Field(name, alias, args, self.selection() if self.peek() == "{" else []))
        self.next("}")
        return fields

    def spread(self) -> list[Field]:
        if self.peek() == "on":
            self.next()
            self.next()
        elif self.peek() != "{":
            return self.fragments.get(self.next(), [])
        return self.selection()

    def arguments(self) -> dict[str, Any]:
        return self.pairs("(", ")")

    def pairs(self, start: str, end: str) -> dict[str, Any]:
        self.next(start)
        found = {}
        while self.peek() != end:
            name = self.next()
            self.next(":")
            found[name] = self.value()
        self.next(end)
        return found

    def value(self) -> Any:
        token = self.peek()
        if token == "{":
            return self.pairs("{", "}")
        self.next()
        if token == "$":
            return self.variables.get(self.next())
        if token == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
            self.next("]")
            return items
        if token.startswith('"'):
            return token[3:-3] if token.startswith('"""') else json.loads(token)
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        return WORDS.get(token, token)
