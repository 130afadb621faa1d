"""Reading an agent's output: what the outcome needs of it is kept, the rest only passes through."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentd.agents.events import (
    MOST_TOKENS,
    AgentEvent,
    Denied,
    Error,
    Final,
    Outcome,
    Raw,
    Retry,
    Started,
    Text,
    ToolCall,
    Usage,
    add_usage,
)
from agentd.agents.outcomes import from_exit, from_status, short
from agentd.plain import storable

Object = Mapping[str, Any]

SAID_LINES = 500
MOST_USD = 1e9


@dataclass
class Transcript:
    """What is known after the lines read so far."""

    session_id: str | None = None
    last_text: str = ""
    """What the agent said last."""
    said: deque[str] = field(default_factory=lambda: deque(maxlen=SAID_LINES))
    """All it said since it last did something: of an agent that writes plain text, its last word has many lines."""
    ended: Final | Error | None = None
    """The last word so far: an agent may report an error and go on."""
    went_on: bool = False
    """Whether it has used a tool since: what was held for its last word was that of a turn, or of a compaction."""
    retry: Retry | None = None
    """The last model call that had to be repeated, if nothing has come since."""
    denials: int = 0
    usage: Usage = field(default_factory=lambda: Usage(scope="total"))

    def note(self, event: AgentEvent) -> None:
        """Take in one event."""
        match event:
            case Started(session_id=session_id):
                self.session_id = session_id or self.session_id
            case Usage():
                self.usage = add_usage(self.usage, event)
            case Retry():
                self.retry = event
                return
            case Denied():
                self.denials += 1
            case Final() | Error():
                self.ended, self.went_on = event, False
            case Text(text=text):
                self.last_text = text
                self.said.append(text)
            case ToolCall():
                self.said.clear()
                self.went_on = True
        if not isinstance(event, Raw):
            self.retry = None


Read = Callable[[bytes, Transcript], list[AgentEvent]]
Judge = Callable[[Transcript, int, str], Outcome]


class Parser:
    """An EventParser made of a function that reads a line and one that judges the end."""

    def __init__(self, read: Read, judge: Judge | None = None) -> None:
        self._read = read
        self._judge = judge or judge_events
        self._transcript = Transcript()

    def feed(self, line: bytes) -> list[AgentEvent]:
        """The events of one line of output."""
        events = self._read(line.rstrip(b"\r\n"), self._transcript)
        for event in events:
            self._transcript.note(event)
        return events

    def close(self, exit_status: int, stderr_tail: str) -> Outcome:
        """The outcome after the last line."""
        return self._judge(self._transcript, exit_status, stderr_tail)


def json_lines(read: Callable[[Object, Transcript], list[AgentEvent] | None]) -> Read:
    """A line reader from a reader of JSON objects. What is no object, or of a shape nobody expects, becomes Raw.

    Texts come as every store and every file takes them, see `storable`.
    """

    def read_line(line: bytes, transcript: Transcript) -> list[AgentEvent]:
        if not line.strip():
            return []
        raw: list[AgentEvent] = [Raw(line.decode(errors="replace"))]
        try:
            value = json.loads(line)
            if b"\\u" in line or not line.isascii():  # nothing else makes what cannot be stored
                value = storable(value)
            events = read(value, transcript) if isinstance(value, dict) else None
        # RecursionError: deep nesting; the others: fields of another type than this version's.
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
            return raw
        return raw if events is None else events

    return read_line


def judge_events(transcript: Transcript, exit_status: int, stderr_tail: str) -> Outcome:
    """The usual judgement: the last Final or Error decides, whatever the exit status; without one the run failed.

    A Final after which the agent went on, and then broke off, is none.
    """
    ended = transcript.ended
    if isinstance(ended, Final) and transcript.went_on and exit_status != 0:
        ended = None
    if isinstance(ended, Final):
        note = "" if exit_status == 0 else f"exit status {exit_status} after its final answer"
        return ends(transcript, Error("success", note))
    if ended is None and transcript.retry is not None and transcript.retry.status is not None and exit_status >= 0:
        ended = from_status(transcript.retry.status, f"ended while repeating a call answered {transcript.retry.status}")
    return ends(transcript, ended or from_exit(exit_status, stderr_tail))


def ends(transcript: Transcript, error: Error) -> Outcome:
    """The outcome that an error makes of a transcript."""
    return Outcome(
        kind=error.kind,
        message=storable(short(error.message)),
        retryable=error.retryable,
        retry_after_seconds=error.retry_after_seconds,
        retry_at=error.retry_at,
        session_id=transcript.session_id,
        usage=replace(transcript.usage, scope="total"),
    )


def number(value: Any) -> int:
    """A token count; 0 for what is none."""
    return min(value, MOST_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def usd(value: Any) -> float | None:
    """What something cost; None for what cannot be: a number of JSON may be infinite, or none at all."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= MOST_USD else None


def text_of(value: Any) -> str:
    """The text of a string, of a list of text blocks, or of anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return "\n".join(str(part.get("text", f"[{part.get('type', 'block')}]")) for part in value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)
