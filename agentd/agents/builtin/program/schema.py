"""Arguments of tools against their JSON Schemas: the few words of it that the tools use, and nothing is let pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def complaint(value: Any, schema: Mapping[str, Any], place: str = "the arguments") -> str:
    """Why the value does not fit, for the model to read; empty when it does."""
    kind = schema["type"]
    if not _is(value, kind):
        return f"{place} must be of type {kind}, not {_name(value)}"
    if kind == "object":
        return _of_object(value, schema, place)
    if kind == "array":
        found = (complaint(item, schema["items"], f"{place}[{at}]") for at, item in enumerate(value))
        return next(filter(None, found), "")
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return "" if low <= value <= high else f"{place} must be from {low} to {high}, not {value}"
    if kind == "string" and len(value) < schema.get("minLength", 0):
        return f"{place} must not be empty"
    return ""


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_object(value: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> str:
    known = schema["properties"]
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"{place} must have {', '.join(missing)}"
    strange = sorted(set(value) - set(known))
    if strange:
        return f"{place} must not have {', '.join(strange)}; there are {', '.join(known)}"
    return next(filter(None, (complaint(item, known[name], name) for name, item in value.items())), "")


def _name(value: Any) -> str:
    return next((kind for kind in _TYPES if _is(value, kind)), "null")
