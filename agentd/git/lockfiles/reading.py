"""Bounded readers of the formats that lockfiles and manifests come in; all raise LockfileUnreadable and nothing else.

The files are an agent's work: they may be as large, as deep and as broken as somebody likes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from agentd.git.lockfiles.entry import LockfileUnreadable

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_DOTS = 200
Table = Mapping[str, Any]


def text_of(content: bytes) -> str:
    """The content as text, if it has a size that a lockfile can have."""
    if len(content) > MAX_BYTES:
        raise LockfileUnreadable(f"it has {len(content)} bytes; at most {MAX_BYTES} are read")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise LockfileUnreadable(f"it is no UTF-8 text: {error}") from None


def lines_of(content: bytes) -> list[str]:
    """The content's lines as a package manager counts them; Python's `splitlines` ends lines at more characters."""
    return [line.removesuffix("\r") for line in text_of(content).split("\n")]


def json_table(content: bytes) -> Table:
    """A JSON object."""
    try:
        return table(json.loads(text_of(content)), "the file")
    except (ValueError, RecursionError) as error:
        raise LockfileUnreadable(f"it is no JSON: {_short(error)}") from None


def toml_table(content: bytes) -> Table:
    """A TOML document."""
    # tomllib takes quadratic time for a key of many parts.
    if any(line.count(".") > MAX_DOTS for line in lines_of(content)):
        raise LockfileUnreadable(f"a line has more than {MAX_DOTS} dots")
    try:
        return tomllib.loads(text_of(content))
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:  # tomllib's own slips included
        raise LockfileUnreadable(f"it is no TOML: {_short(error)}") from None


def yaml_table(content: bytes) -> Table:
    """A YAML mapping; of several documents the tables together. Every plain value is a text, as it is written.

    Anchors are refused: a few lines of them can stand for terabytes, and no package manager writes any.
    """
    text = text_of(content)
    found: dict[str, Any] = {}
    try:
        _check_events(text)
        for document in yaml.load_all(text, Loader=yaml.CBaseLoader):
            found |= table(document, "the file") if document is not None else {}
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise LockfileUnreadable(f"it is no YAML: {_short(error)}") from None
    return found


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CBaseLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise LockfileUnreadable("it has an anchor or alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise LockfileUnreadable(f"it is nested more than {MAX_DEPTH} deep")


def table(value: Any, what: str) -> Table:
    """The value, if it is a table. None, and in YAML nothing at all, stand for an empty one."""
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise LockfileUnreadable(f"{what}: expected a table, found {type(value).__name__}")
    return value


def rows(value: Any, what: str) -> list[Any]:
    """The value, if it is a list. None stands for an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise LockfileUnreadable(f"{what}: expected a list, found {type(value).__name__}")
    return value


def tables(value: Any, what: str) -> Iterator[Table]:
    """The tables of a list."""
    for number, row in enumerate(rows(value, what)):
        yield table(row, f"{what} {number}")


def string(value: Any, what: str) -> str:
    """The value, if it is a text. None stands for an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LockfileUnreadable(f"{what}: expected a text, found {type(value).__name__}")
    return value


def hashes(value: Any, what: str) -> frozenset[str]:
    """The hashes of an `integrity` text, which are separated by spaces (Subresource Integrity)."""
    return frozenset(string(value, what).split())


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
