"""The clocks, passed in wherever time decides something, so that tests decide the time."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Wall time for people, boot time for leases."""

    def now(self) -> datetime:
        """The wall clock: aware, UTC. May jump; nothing that protects work depends on it."""

    def boottime(self) -> float:
        """Seconds since boot, also counting suspend; never jumps."""

    def boot_id(self) -> str:
        """Changes with every boot, so that a boot time of another boot is recognised."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def new_id(clock: Clock, prefix: str, separator: str = "-") -> str:
    """`<prefix><epoch milliseconds><separator><6 base-36 characters>`, as the original's run and event ids."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    tail = "".join(secrets.choice(letters) for _ in range(6))
    return f"{prefix}{int(clock.now().timestamp() * 1000)}{separator}{tail}"
