"""Injected faults: what goes wrong, when, how often."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Drop = Literal["before", "after"]


@dataclass
class Fault:
    """Strikes the next `times` requests whose method and path (regular expression, anywhere in the path) match."""

    method: str = ".*"
    path: str = ""
    status: int | None = None
    """Answer with this status instead; None leaves the answer (a delay only, say)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    times: int = 1
    after: bool = False
    """True: the work is done and then the status is answered, as a gateway does that lost the answer."""
    drop: Drop | None = None
    """Close the connection without an answer, before or after the work."""
    delay: float = 0.0
    """Seconds to wait before the work."""


def strike(faults: list[Fault], method: str, path: str) -> Fault | None:
    """The first fault that matches, its count taken down; used-up ones are removed."""
    for fault in faults:
        if re.fullmatch(fault.method, method, re.IGNORECASE) and re.search(fault.path, path):
            fault.times -= 1
            if fault.times <= 0:
                faults.remove(fault)
            return fault
    return None
