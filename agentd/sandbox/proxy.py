"""The way out for package registries: a CONNECT proxy on a unix socket that lets through what the policy lists.

It cannot see into TLS: a host that is allowed can be told anything. Names are resolved here, since inside there is no
resolver, and every address must be public: a name that points into the host's own network is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentd.model import Verdict

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HEAD_BYTES = 8192
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 15.0
PIECE_BYTES = 1 << 16
BACKLOG = 512
"""Connections that may wait to be accepted; a unix socket refuses what comes beyond."""
_REQUEST = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):(\d{1,5}) HTTP/1\.[01]")

Resolve = Callable[[str, int], Awaitable[list[str]]]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class ProxyRules:
    """What a run may reach, and how much."""

    hosts: frozenset[tuple[str, int]]
    """exact names in lower case, each with its port"""
    total_bytes: int = 2 * 1024**3
    """both ways, the run's connections together"""
    connections: int = 64
    """at the same time"""
    private: bool = False
    """lets private addresses through: for a registry mirror on the own network"""


@dataclass(frozen=True)
class Decision:
    """One request from inside, as it was judged. To be made an event by whoever holds the ledger."""

    verdict: Literal["allow", "deny"]
    kind: Literal["network", "command", "tool"]
    """a connection, a shell command, or a call of any other tool"""
    subject: str
    """`host:port`, the text of the command, or the tool's name with the paths it would write"""
    reason: str
    ruling: Verdict | None = None
    """the whole verdict, where a gate of the policy gave one"""


async def system_resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, by the host's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Proxy:
    """The proxy of one run. `async with` it; `path` is the socket to mount."""

    def __init__(
        self, path: Path, rules: ProxyRules, decided: Callable[[Decision], None], resolve: Resolve = system_resolve
    ) -> None:
        self._rules, self._decided, self._resolve = rules, decided, resolve
        self._open = 0
        self._bytes = 0
        # Beyond those that are refused with a word there are some more, and then silence.
        self._socket = served(path, self._serve, 2 * rules.connections, HEAD_BYTES)

    async def __aenter__(self) -> Proxy:
        await self._socket.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._socket.__aexit__(*error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            await self._connection(reader, writer)
        finally:
            self._open -= 1

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        decision, address, port = await self._judge(head.split(b"\r\n", 1)[0])
        if decision.verdict == "allow":
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far = await asyncio.open_connection(address, port)
            except (OSError, TimeoutError) as error:
                decision = Decision("deny", "network", decision.subject, f"it could not be reached: {error}")
        self._decided(decision)
        if decision.verdict == "deny":
            body = f"agentd: {decision.reason}\n".encode()
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            )
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await tunnel((reader, writer), far, self._count)

    async def _judge(self, request: bytes) -> tuple[Decision, str, int]:
        """The decision, and the address and port to connect to."""
        match = _REQUEST.fullmatch(request)
        if match is None:
            return Decision("deny", "network", "", "only CONNECT host:port is spoken here"), "", 0
        host, port = match[1].decode().lower(), int(match[2])

        def deny(reason: str) -> tuple[Decision, str, int]:
            return Decision("deny", "network", f"{host}:{port}", reason), "", 0

        if (host, port) not in self._rules.hosts:
            return deny(f"{host}:{port} is not on the list of hosts")
        if self._open > self._rules.connections:
            return deny(f"more than {self._rules.connections} connections at the same time")
        if self._bytes > self._rules.total_bytes:
            return deny(f"the run has moved more than {self._rules.total_bytes} bytes")
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            return deny(f"{host} has no address: {error}")
        if not addresses or not (self._rules.private or all(_is_public(address) for address in addresses)):
            return deny(f"{host} has an address that is not public: {', '.join(addresses)}")
        # The address that was judged is the one that is used: a second look might see another.
        return Decision("allow", "network", f"{host}:{port}", f"listed; {addresses[0]}"), addresses[0], port

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._rules.total_bytes:
            raise ConnectionAbortedError("over the run's limit of bytes")


@asynccontextmanager
async def served(path: Path, handle: Handle, most: int, limit_bytes: int = PIECE_BYTES) -> AsyncIterator[None]:
    """A unix socket whose connections `handle` serves; those above `most` at a time are closed unheard.

    `limit_bytes` is the longest that `readuntil` takes. A connection that breaks, or says too much, is just closed.
    """
    tasks: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # A connection may have been accepted just before the end.
            if len(tasks) <= most and not ended.is_set():
                await handle(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # either side went away, or never said a whole request
        except asyncio.CancelledError:
            pass  # the run is over; asyncio would log a cancelled connection as a mistake
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, path, limit=limit_bytes, backlog=BACKLOG)
    try:
        yield
    finally:
        ended.set()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        path.unlink(missing_ok=True)


async def tunnel(near: Stream, far: Stream, count: Callable[[int], None] = lambda size: None) -> None:
    """Carry bytes both ways until both sides have said their last, or one is lost; `far` is closed then.

    `count` is told the size of every piece before it is passed on, and may raise OSError to end it.
    """
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(near[0], far[1], count))
            both.create_task(_copy(far[0], near[1], count))
    except* OSError:
        pass
    finally:
        far[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(PIECE_BYTES):
        count(len(data))
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return ipaddress.IPv4Address(found.packed[-4:]).is_global
        embedded = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if embedded:
            return embedded.is_global
    return found.is_global and not found.is_multicast
