"""Looks at the agents that live, many times a second, by their record and /proc: what agentd says plays no part."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.05


def lives(line: dict[str, Any]) -> bool:
    """True while the agent of a record's line runs: the same process, and no zombie."""
    try:
        fields = Path(f"/proc/{line['pid']}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[19]) == line["born"]


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of the record so far, in the order in which they were written."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Watch:
    """The most that was ever seen at one moment. Start it with `with`."""

    record: Path
    homes: Path
    """folder of the hosts' homes; the first part of the way from there to an agent's folder names its host"""
    most: int = 0
    most_on_host: Counter[str] = field(default_factory=Counter)
    twice: set[str] = field(default_factory=set)
    """tasks of which two agents were seen at one moment"""
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self.thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        here: list[dict[str, Any]] = []
        position, rest = 0, b""
        while not self.ended.wait(PAUSE_SECONDS):
            if self.record.exists():
                with self.record.open("rb") as file:
                    file.seek(position)
                    received = file.read()
                position += len(received)
                *lines, rest = (rest + received).split(b"\n")
                here += [line for line in map(json.loads, lines) if line["what"] == "start"]
            # Who lives is asked after everybody who counts has written his line: so all of them lived at this moment.
            here = [line for line in here if lives(line)]
            self._count(here)

    def _count(self, here: list[dict[str, Any]]) -> None:
        self.most = max(self.most, len(here))
        self.most_on_host |= Counter(Path(line["cwd"]).relative_to(self.homes).parts[0] for line in here)
        self.twice |= {task for task, number in Counter(line["task"] for line in here).items() if number > 1}
