"""The way out for package registries: a CONNECT proxy on a unix socket that lets through what the policy lists.

It cannot see into TLS: a host that is allowed can be told anything. Names are resolved here, since inside there is no
resolver, and every address must be public: a name that points into the host's own network is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HEAD_BYTES = 8192
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 15.0
_REQUEST = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):(\d{1,5}) HTTP/1\.[01]")

Resolve = Callable[[str, int], Awaitable[list[str]]]


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
    """One request, as it was judged. To be made an event by whoever holds the ledger."""

    verdict: Literal["allow", "deny"]
    host: str
    port: int
    reason: str


async def system_resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, by the host's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Proxy:
    """The proxy of one run. `async with` it; `path` is the socket to mount."""

    def __init__(
        self, path: Path, rules: ProxyRules, decided: Callable[[Decision], None], resolve: Resolve = system_resolve
    ) -> None:
        self._path, self._rules, self._decided, self._resolve = path, rules, decided, resolve
        self._open = 0
        self._bytes = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=HEAD_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open += 1
        try:
            await self._connection(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # either side went away, or never said a whole request
        finally:
            self._open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        decision, address = await self._judge(head.split(b"\r\n", 1)[0])
        if decision.verdict == "allow":
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far_reader, far_writer = await asyncio.open_connection(address, decision.port)
            except (OSError, TimeoutError) as error:
                decision = Decision("deny", decision.host, decision.port, f"it could not be reached: {error}")
        self._decided(decision)
        if decision.verdict == "deny":
            body = f"agentd: {decision.reason}\n".encode()
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            )
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, far_writer))
                both.create_task(self._copy(far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.close()

    async def _judge(self, request: bytes) -> tuple[Decision, str]:
        """The decision, and the address to connect to."""
        match = _REQUEST.fullmatch(request)
        if match is None:
            return Decision("deny", "", 0, "only CONNECT host:port is spoken here"), ""
        host, port = match[1].decode().lower(), int(match[2])

        def deny(reason: str) -> tuple[Decision, str]:
            return Decision("deny", host, port, reason), ""

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
        return Decision("allow", host, port, f"listed; {addresses[0]}"), addresses[0]

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self._bytes += len(data)
            if self._bytes > self._rules.total_bytes:
                raise ConnectionAbortedError("over the run's limit of bytes")
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
