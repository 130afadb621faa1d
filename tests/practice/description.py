"""GitHub's own description of its answers, as a check for ours."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SUBSET = Path(__file__).with_name("openapi-subset.json.gz")
ERROR = {"type": "object", "required": ["message", "documentation_url"], "properties": {"message": {"type": "string"}}}

NOT_DESCRIBED = {
    ("GET", "/"): "our index is two links",
    ("GET", "/meta"): "only what clients look at",
    ("GET", "/repos/{}/{}/contents"): "the description has it with an empty path",
    ("GET", "/repos/{}/{}/git/refs"): "GitHub answers it but describes only matching-refs",
    ("POST", "/graphql"): "not REST",
    ("GET", "/repos/{}/{}/contents/{}"): "one answer of several media types: checked where it is a file",
}
"""Operations that are not compared, and why."""

TOO_STRICT = (
    (
        re.compile(r"(\$|\$\[\d+\])\.labels\[\d+\]\.description: None is not of type 'string'"),
        "lists of pull requests: a label without a description has null there, as the label schema itself allows",
    ),
)
"""Complaints that the description raises wrongly, and why."""

COMMON_STATUSES = {301, 304, 307, 400, 401, 403, 404, 410, 422, 503}
"""Answered by GitHub from any operation, whether the operation lists them or not."""


def widened(node: Any) -> Any:
    """OpenAPI 3.0 to JSON Schema: `nullable` becomes one more type."""
    if isinstance(node, list):
        return [widened(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: widened(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is not True:
        return made
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    if isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        return made
    return {"anyOf": [made, {"type": "null"}]}


@cache
def document() -> Any:
    return widened(json.loads(gzip.decompress(SUBSET.read_bytes())))


@cache
def registry() -> Registry[Any]:
    return Registry().with_resource("urn:github", Resource(document(), DRAFT202012))


@cache
def validator(method: str, path: str, status: str) -> Draft202012Validator | None:
    """None for an answer without a body."""
    schema = document()["paths"][path][method][status]
    if schema is None:
        return None
    text = json.dumps(schema).replace('"#/components', '"urn:github#/components')
    return Draft202012Validator(json.loads(text), registry=registry())


@cache
def templates() -> list[tuple[re.Pattern[str], str]]:
    """Paths as patterns, the most particular first; the variables that hold paths take slashes."""
    made = []
    for path in sorted(document()["paths"], key=lambda each: (each.count("{"), -len(each))):
        pattern = re.sub(r"\{(ref|path|basehead|branch)\}", ".+", path)
        pattern = re.sub(r"\{(\w*(number|_id))\}", "[0-9]+", pattern)
        made.append((re.compile(re.sub(r"\{\w+\}", "[^/]+", pattern)), path))
    return made


def complaint(method: str, path: str, status: int, data: Any) -> str | None:
    """What is wrong with an answer; None when nothing is, or when GitHub does not describe it."""
    path = path.split("?")[0]
    if status == 304 or method == "HEAD" or isinstance(data, bytes):
        return None
    if status >= 300:
        return None if status in COMMON_STATUSES | {405, 409} and valid_error(data) else f"{status} {data}"
    candidates = [template for pattern, template in templates() if pattern.fullmatch(path)]
    found = [each for each in candidates if method.lower() in document()["paths"][each]]
    if not found:
        known = {re.compile(re.sub(r"\{\}", "[^/]+", shape)) for verb, shape in NOT_DESCRIBED if verb == method}
        return None if any(each.fullmatch(path) for each in known) else f"{method} {path} is not described"
    described = document()["paths"][found[0]][method.lower()]
    if str(status) not in described:
        return f"{method} {found[0]} answered {status}, described are {sorted(described)}"
    check = validator(method.lower(), found[0], str(status))
    if check is None:
        return f"{method} {found[0]} has a body" if data is not None else None
    errors = [f"{error.json_path}: {error.message[:300]}" for error in check.iter_errors(data)]
    errors = [error for error in errors if not any(known.fullmatch(error) for known, _ in TOO_STRICT)]
    return f"{method} {found[0]} {status}: {errors[:3]}" if errors else None


def valid_error(data: Any) -> bool:
    return Draft202012Validator(ERROR).is_valid(data)
