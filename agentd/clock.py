"""The clocks, passed in wherever time decides something, so that tests decide the time."""

from __future__ import annotations

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
