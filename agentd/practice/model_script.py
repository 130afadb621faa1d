"""Scripts of the practice model: what it answers, step by step, in words that belong to no agent's wire format.

A step is a dictionary with exactly one of the ACTIONS:

    {"shell": "pytest -q"}                          run a command with the agent's own shell tool
    {"write": {"path": "a.txt", "content": "hi"}}   write a file with its write tool, or its shell when it has none
    {"call": {"name": "Read", "input": {...}}}      call that very tool
    {"text": "done"}                                the final answer; ends the agent's turn
    {"status": 429, "retry_after": 1}               an HTTP error in the dialect's own shape; retry_after in seconds
    {"hang": True}                                  never answer; {"hang": "stream"}: begin to stream, then stop
    {"garbage": True}                               status 200 and bytes that are no answer
    {"disconnect": True}                            drop the connection; {"disconnect": "stream"}: in mid-stream

and, beside it, any of OPTIONS: `times` (repeat; -1 for ever), `say` and `thinking` (text before a tool call),
`usage` ({"input", "output", "cached", "reasoning"} in tokens), `delay` (seconds before the answer), `chunk_delay`
(seconds between streamed events), `retry_after`. `${CWD}` in a string becomes the agent's working directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ACTIONS = ("shell", "write", "call", "text", "status", "hang", "garbage", "disconnect")
OPTIONS = ("times", "say", "thinking", "usage", "delay", "chunk_delay", "retry_after")


@dataclass(frozen=True)
class Usage:
    """Tokens a reply claims to have cost; `input` includes `cached`, `output` includes `reasoning`."""

    input: int = 100
    output: int = 10
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Step:
    """One answer of the model; `action` is one of ACTIONS and `value` what was written behind it."""

    action: str
    value: Any
    say: str = ""
    thinking: str = ""
    usage: Usage = field(default_factory=Usage)
    delay_seconds: float = 0.0
    chunk_delay_seconds: float = 0.0
    retry_after_seconds: float | None = None
    times: int = 1


THE_END = Step("text", "Done.")
"""What a script that has run out answers, so that a lingering agent ends its turn."""


def parse_script(steps: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps as data; raises ValueError naming the first step that cannot be understood."""
    return tuple(_parse_step(number, step) for number, step in enumerate(steps, start=1))


def step_at(script: Sequence[Step], position: int) -> Step:
    """The step of the `position`-th request (from 0) with `times` unrolled; THE_END after the last one."""
    for step in script:
        if step.times < 0 or position < step.times:
            return step
        position -= step.times
    return THE_END


def _parse_step(number: int, step: Mapping[str, Any]) -> Step:
    actions = [name for name in ACTIONS if name in step]
    unknown = sorted(set(step) - set(ACTIONS) - set(OPTIONS))
    if len(actions) != 1 or unknown:
        raise ValueError(
            f"step {number} is {dict(step)!r}: expected exactly one of {', '.join(ACTIONS)}"
            + (f", and no {', '.join(unknown)}" if unknown else "")
        )
    return Step(
        action=actions[0],
        value=step[actions[0]],
        say=step.get("say", ""),
        thinking=step.get("thinking", ""),
        usage=Usage(**step.get("usage", {})),
        delay_seconds=step.get("delay", 0.0),
        chunk_delay_seconds=step.get("chunk_delay", 0.0),
        retry_after_seconds=step.get("retry_after"),
        times=step.get("times", 1),
    )


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """The value with `${NAME}` replaced in every string it holds."""
    if isinstance(value, str):
        for name, text in variables.items():
            value = value.replace("${" + name + "}", text)
        return value
    if isinstance(value, Mapping):
        return {key: fill(item, variables) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, variables) for item in value]
    return value
