"""What the practice model remembers: its scripts, how far each run has come, and every request it was sent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentd.practice.model_script import Step, step_at

PER_PROMPT = "auto"
"""A run name under which each different prompt is a run of its own (for profiles that share one base address)."""


@dataclass(frozen=True)
class Recorded:
    """One request as the agent sent it."""

    run: str
    script: str
    path: str
    dialect: str
    headers: Mapping[str, str]
    """names in lower case"""
    body: Mapping[str, Any]
    step: int | None
    """position in the script, from 0; None for a request without tools, which does not advance it"""
    status: int
    """the HTTP status it was answered with; 0 while the answer is withheld or for a dropped connection"""


class Runs:
    """The server's memory; safe to use from the test's thread and the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: dict[str, tuple[Step, ...]] = {}
        self._routes: list[tuple[str, str]] = []
        self._positions: dict[str, int] = {}
        self._requests: list[Recorded] = []

    def add_script(self, name: str, steps: tuple[Step, ...]) -> None:
        """Store a script, replacing one of the same name."""
        with self._lock:
            self._scripts[name] = steps

    def add_route(self, needle: str, script: str) -> None:
        """Under PER_PROMPT, a prompt that holds `needle` follows `script` whatever the address says."""
        with self._lock:
            self._routes.append((needle, script))

    def resolve(self, run: str, script: str, prompt: str) -> tuple[str, str]:
        """The run and script that an address and a prompt stand for."""
        if run != PER_PROMPT:
            return run, script
        with self._lock:
            routed = next((name for needle, name in self._routes if needle in prompt), script)
        return f"{PER_PROMPT}-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}", routed

    def advance(self, run: str, script: str) -> tuple[int, Step]:
        """The position and step of the run's next request; raises KeyError for a script nobody added."""
        with self._lock:
            steps = self._scripts[script]
            position = self._positions.get(run, 0)
            self._positions[run] = position + 1
            return position, step_at(steps, position)

    def record(self, request: Recorded) -> int:
        """Store a request; returns its number for `answered`."""
        with self._lock:
            self._requests.append(request)
            return len(self._requests) - 1

    def answered(self, number: int, status: int) -> None:
        """Note the status a recorded request was answered with."""
        with self._lock:
            self._requests[number] = replace(self._requests[number], status=status)

    def requests(self, run: str | None) -> list[Recorded]:
        """The requests of one run, or of PER_PROMPT's every run, or all of them; in order of arrival."""
        with self._lock:
            return [
                request
                for request in self._requests
                if run is None or request.run == run or (run == PER_PROMPT and request.run.startswith(f"{run}-"))
            ]


def prompt_of(body: Mapping[str, Any]) -> str:
    """The user's text before the model's first word: equal in every request of one conversation."""
    history = body.get("messages") or body.get("input") or ()
    if isinstance(history, str):
        return history
    opening: list[str] = []
    for item in history:
        if item.get("role") not in ("user", "system", "developer"):
            break
        if item["role"] == "user":
            opening += _texts(item.get("content"))
    return "\n".join(opening)


def _texts(content: str | Sequence[Mapping[str, Any]] | None) -> Iterable[str]:
    if isinstance(content, str):
        return [content]
    return [str(part["text"]) for part in content or () if "text" in part]
