"""Fingerprints by which a run sees that it has been here before. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"\x1b\[[0-?]*[ -/]*[@-~]", ""),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<hex>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b", "<address>"),
        (r"(?:\blocalhost|\[::1\]):\d{1,5}\b", "<address>"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"(?<![:\w.])\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b(?!:)", "<time>"),
        (r"\b\d+(?:\.\d+)?\s?(?:ns|[uµ]s|ms|m?secs?|millis|seconds?|minutes?|mins?|s)\b", "<duration>"),
        (r"\b0x[0-9a-f]+\b", "<hex>"),
        (r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b", "<hex>"),
        (r"(?<![\w.<])/(?:[\w.@+~-]+/)+(?=[\w.@+~-])", ""),
    )
)
"""What differs between two equal runs of a program. Of an absolute path the last name stays, since folders are made
anew; a relative one, and line numbers, stay: they tell one failure from another."""


def normalised_output(text: str) -> str:
    """The text without times, durations, addresses, hexadecimal numbers, and folders of absolute paths."""
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def fingerprint(*parts: str) -> str:
    """16 hex digits of the sha256 of the parts, told apart."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]


def history_of(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The run controls' history of rounds, each {tree, said}: what the agent left and what came of it, and `verified`.

    A streak is of neighbours, so turns stand together, and verifications stand together.
    """
    turns, checks = [], []
    for number, each in enumerate(rounds):
        output = fingerprint(normalised_output(each["said"]))
        turn = {"step_id": "implement", "slot": "fixloop" if number else ""}
        did = {"action": each["tree"], "output_fingerprint": output}
        turns.append({**turn, **did, "diff_fingerprint": each["tree"]})
        if each["verified"]:
            checks.append({"step_id": "test", "slot": "tester", **did})
    return [*turns, *checks]
