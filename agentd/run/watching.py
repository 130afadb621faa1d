"""Reading an agent's output, each line once, while it comes: for who watches, for the Steps, and for the outcome."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agentd.agents import AgentEvent, EventParser, Outcome
from agentd.errors import StoreError
from agentd.model import Step
from agentd.run.desk import Desk
from agentd.run.recording import ToolSteps, keep

LINE_LIMIT = 1 << 20
LOOK_SECONDS = 0.5
PIECE_BYTES = 4 << 20
"""Read at once at most; a longer output is taken in several pieces."""


@dataclass
class Reader:
    """How far one output is read. It begins at the beginning, also when another process has read it before."""

    desk: Desk
    path: Path
    turn: Step
    parser: EventParser
    position: int = 0
    broken: Exception | None = None
    """what its parser did not foresee; then there is no outcome"""
    dropped: int = 0
    """Steps that could not be made or written: they only tell, and end nothing"""
    why_dropped: str = ""
    _tools: ToolSteps = field(init=False)
    _unwritten: list[Step] = field(default_factory=list)
    """what a store that is out of reach has not taken yet"""

    def __post_init__(self) -> None:
        self._tools = ToolSteps(self.desk, self.turn)

    async def follow(self, over: asyncio.Event) -> None:
        """Read what comes until `over` is set, and then the rest; what is shown is shown in this thread."""
        last = False
        while not last:
            last = over.is_set()
            while self._has_more():
                before = self.position
                events = await asyncio.to_thread(self._read, last)
                for event in events if self.desk.context.show else ():
                    assert self.desk.context.show is not None
                    self.desk.context.show(self.desk.run.run_id, event)
                if self.position == before:
                    break
            if self._unwritten:
                await asyncio.to_thread(self._write)
            if not last:
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), LOOK_SECONDS)

    def outcome(self, exit_status: int, tail: str) -> Outcome:
        """How the agent's run ended, once everything is read."""
        if self.broken is None:
            try:
                return self.parser.close(exit_status, tail)
            except Exception as error:  # whatever an agent may write that its parser did not foresee
                self.broken = error
        return Outcome("failed", message=f"its output cannot be read: {self.broken!r}")

    def _has_more(self) -> bool:
        try:
            return self.broken is None and self.path.stat().st_size > self.position
        except OSError:
            return False

    def _read(self, last: bool) -> list[AgentEvent]:
        """The next events; whole lines only, unless nothing follows."""
        events: list[AgentEvent] = []
        until = self.position + PIECE_BYTES
        try:
            with self.path.open("rb") as output:
                output.seek(self.position)
                while self.position < until and (line := output.readline(LINE_LIMIT)):
                    if not (last or line.endswith(b"\n") or len(line) == LINE_LIMIT):
                        break
                    events += self.parser.feed(line)
                    self.position += len(line)
        except OSError:
            pass
        except Exception as error:
            self.broken = error
        for event in events:
            try:
                self._tools.feed(event)
            except Exception as error:  # whatever an agent may say of its tools
                self._drop([repr(error)])
        self._write()
        return events

    def _write(self) -> None:
        """A store that cannot be reached for a while ends no run: what it has missed is written the next time."""
        self._unwritten += self._tools.take()
        try:
            self._drop(keep(self.desk.context.telemetry, self._unwritten))
        except StoreError:
            return
        self._unwritten = []

    def _drop(self, why: list[str]) -> None:
        self.dropped += len(why)
        self.why_dropped = next(iter(why), "") or self.why_dropped
