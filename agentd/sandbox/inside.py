"""The first program in a sandbox: opens the doors on its loopback, then becomes the program that was asked for.

    python -I -S inside.py [--listen PORT=SOCKET]... -- PROGRAM [ARGUMENT]...

What connects to 127.0.0.1:PORT talks to the unix socket of that name beside this file. The ports are open before the
program starts; who carries the bytes is a process of its own that holds none of the program's descriptors, and it
dies with the sandbox. Runs inside, where agentd is not: standard library only.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
BACKLOG = 512
CANNOT_LISTEN = 126
CANNOT_START = 127
PIECE_BYTES = 1 << 16

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def main(arguments: list[str]) -> None:
    """Does not return: it becomes the program, or exits."""
    at = arguments.index("--")
    program = arguments[at + 1 :]
    doors = [argument.split("=", 1) for argument in arguments[:at] if argument != "--listen"]
    listeners = {name: _listener(int(port)) for port, name in doors}
    if listeners and _is_carrier():
        _let_go({listener.fileno() for listener in listeners.values()})
        asyncio.run(_carry(listeners))
    # Python ignores these two; whoever writes into a closed pipe expects to die of it.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        # Listeners close here: descriptors that Python makes are not inherited.
        os.execvp(program[0], program)
    except OSError as error:
        _fail(CANNOT_START, f"cannot start {program[0]}: {error.strerror}")


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except OSError as error:
        _fail(CANNOT_LISTEN, f"cannot listen on port {port}: {error.strerror}")
    return listener


def _is_carrier() -> bool:
    """True in the new process. It is no child of the program's, which may wait for all it has."""
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    if os.fork():
        os._exit(0)
    return True


def _let_go(kept: set[int]) -> None:
    """Nothing of the program stays here: not its output, which readers read to the end, nor its signals."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    for name in list(Path("/proc/self/fd").iterdir()):
        descriptor = int(name.name)
        if descriptor > 2 and descriptor not in kept:
            # The listing had a descriptor of its own.
            with suppress(OSError):
                os.close(descriptor)


async def _carry(listeners: dict[str, socket.socket]) -> None:
    # Nobody else holds a connection that waits for both sides: without this the garbage collector closes it.
    held: set[asyncio.Task[None]] = set()
    for name, listener in listeners.items():
        await asyncio.start_server(partial(_connection, held, name), sock=listener)
    await asyncio.Event().wait()


async def _connection(
    held: set[asyncio.Task[None]], name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    task = asyncio.current_task()
    assert task is not None
    held.add(task)
    task.add_done_callback(held.discard)
    with suppress(OSError):
        far = await asyncio.open_unix_connection(HERE / name)
        await _both_ways((reader, writer), far)
    writer.close()


async def _both_ways(near: Stream, far: Stream) -> None:
    """Until both sides have said their last, or one is lost."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(near[0], far[1]))
            both.create_task(_copy(far[0], near[1]))
    except* OSError:
        pass
    finally:
        far[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


def _fail(status: int, message: str) -> NoReturn:
    print(f"agentd: {message}", file=sys.stderr, flush=True)
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
