"""Processes, recognised: a number is given to another process some day, a number and a birth are not."""

from __future__ import annotations

from pathlib import Path

from agentd.clock import SystemClock


def birth_of(pid: int) -> str:
    """`<8 hex digits of the boot>-<clock ticks from it to the start of the process>`; empty when there is none.

    One that has ended stays in the table until its parent, which may be in no hurry, asks for its status: there is
    none any more. A start in seconds since the epoch, as psutil tells it, would not do: it is counted from the boot as
    the wall clock has it, and changes for living processes when that clock is set (proc_stat(5), btime).
    """
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *more = told.rpartition(b")")[2].decode().split()
    return "" if state in "ZX" else f"{SystemClock().boot_id()[:8]}-{more[18]}"
