"""What happened, as one JSON object a line on standard output; the words are those of agentd's own events."""

from __future__ import annotations

import json
import sys
from typing import Any

Fields = dict[str, Any]


def tell(event: str, **fields: Any) -> None:
    """Write one event; `event` and `fields` are those of a class in agentd.agents.events."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Speech:
    """What the agent says comes in pieces: it is told when something else happens."""

    def __init__(self) -> None:
        self.last = ""
        self._kind = ""
        self._pieces: list[str] = []

    def add(self, kind: str, piece: str) -> None:
        """A piece of "text" or of a "thought"."""
        if kind != self._kind:
            self.flush()
            self._kind = kind
        self._pieces.append(piece)

    def flush(self) -> None:
        """Tell what has come so far."""
        said = "".join(self._pieces)
        if said.strip():
            tell(self._kind, text=said)
            self.last = said if self._kind == "text" else self.last
        self._kind, self._pieces = "", []


def denied(call_id: str, reason: str) -> None:
    """Tell of a refusal, and on standard error, where a person looks."""
    tell("denied", id=call_id, reason=reason)
    print(f"agentd: denied: {reason}", file=sys.stderr, flush=True)
