"""Running a command of the model: its own process group, a time limit, and output that is bounded while it comes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KEPT_BYTES = 15_000
"""Of the output's beginning, and of its end."""
DRAIN_SECONDS = 0.2
"""After the end of the command, for what it has written; what it left in the background is not waited for."""
PIECE_BYTES = 1 << 16
_NOT_FOR_COMMANDS = re.compile(r"^(?:ANTHROPIC|OPENAI)_|(?:_KEY|_TOKEN|_SECRET|_PASSWORD)$")


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    exit_status: int
    """negative for a signal"""
    output: str
    """both streams"""
    is_late: bool
    """it took too long and was ended"""


async def run(command: str, folder: Path, timeout_seconds: float) -> Ran:
    """Run it with a shell in the folder; everything of its process group is ended with a late one."""
    shell = shutil.which("bash") or "/bin/sh"
    ours, theirs = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            shell,
            "-c",
            command,
            cwd=folder,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    kept = _Kept()
    # A pipe of our own: asyncio waits for the end of a process until the last holder of its pipes is gone.
    reader = asyncio.create_task(_read(ours, kept))
    is_late = False
    try:
        await asyncio.wait_for(process.wait(), timeout_seconds)
    except TimeoutError:
        is_late = True
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.wait([reader], timeout=DRAIN_SECONDS)
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
    return Ran(process.returncode or 0, kept.text(), is_late)


def environment() -> dict[str, str]:
    """The agent's own less the model's address and every credential: what a command prints is sent to the model."""
    return {name: value for name, value in os.environ.items() if not _NOT_FOR_COMMANDS.search(name)}


class _Kept:
    """The beginning and the end of a stream."""

    def __init__(self) -> None:
        self._head, self._tail, self._length = b"", b"", 0

    def add(self, piece: bytes) -> None:
        self._length += len(piece)
        room = KEPT_BYTES - len(self._head)
        self._head += piece[:room]
        self._tail = (self._tail + piece[max(0, room) :])[-KEPT_BYTES:]

    def text(self) -> str:
        left = self._length - len(self._head) - len(self._tail)
        middle = f"\n[{left} bytes were left out]\n".encode() if left else b""
        return (self._head + middle + self._tail).decode(errors="replace")


async def _read(descriptor: int, kept: _Kept) -> None:
    """Until the last holder of the pipe has closed it."""
    stream = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), file
    )
    try:
        while piece := await stream.read(PIECE_BYTES):
            kept.add(piece)
    finally:
        transport.close()
