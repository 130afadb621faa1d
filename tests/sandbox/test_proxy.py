from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agentd.sandbox.proxy import Decision, Proxy, ProxyRules


@pytest.fixture
def folder() -> Iterator[Path]:
    # A path of a socket may be 107 bytes long, which folders of tests may exceed.
    with tempfile.TemporaryDirectory(prefix="px", dir="/tmp") as made:
        yield Path(made)


@asynccontextmanager
async def far_side() -> AsyncIterator[int]:
    """A server that says back what it hears; yields its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def asked(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    await writer.drain()
    said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.close()
    return said.split(b"\r\n")[0]


async def test_a_listed_host_is_reached_and_the_decision_told(folder: Path) -> None:
    told: list[Decision] = []
    async with far_side() as port:
        rules = ProxyRules(frozenset([("registry.example", port)]), private=True)
        async with Proxy(folder / "s", rules, told.append, loopback):
            reader, writer = await asyncio.open_unix_connection(folder / "s")
            writer.write(b"CONNECT Registry.Example:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port)
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 30) == b"hello"
            writer.close()
    assert [(each.verdict, each.kind, each.subject) for each in told] == [
        ("allow", "network", f"registry.example:{port}")
    ]
    assert not (folder / "s").exists()


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT other.example:443 HTTP/1.1",
        b"CONNECT registry.example:22 HTTP/1.1",
        b"CONNECT registry.example.evil:443 HTTP/1.1",
        b"CONNECT xregistry.example:443 HTTP/1.1",
        b"CONNECT registry.example.:443 HTTP/1.1",
        b"CONNECT registry.example\0.evil:443 HTTP/1.1",
        b"CONNECT 93.184.216.34:443 HTTP/1.1",
        b"CONNECT [::1]:443 HTTP/1.1",
        b"GET http://registry.example/ HTTP/1.1",
        b"CONNECT registry.example HTTP/1.1",
        b"\x16\x03\x01",
    ],
)
async def test_everything_else_is_refused(folder: Path, request_line: bytes) -> None:
    told: list[Decision] = []
    async with Proxy(folder / "s", ProxyRules(frozenset([("registry.example", 443)])), told.append, loopback):
        assert b" 403 " in await asked(folder / "s", request_line + b"\r\n\r\n")
    assert [each.verdict for each in told] == ["deny"]


INSIDE = [
    *("127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_listed_name_that_leads_inside_is_refused(folder: Path, address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    told: list[Decision] = []
    async with Proxy(folder / "s", ProxyRules(frozenset([("registry.example", 443)])), told.append, resolve):
        assert b" 403 " in await asked(folder / "s", b"CONNECT registry.example:443 HTTP/1.1\r\n\r\n")
    assert "not public" in told[0].reason


async def test_a_run_moves_only_so_many_bytes(folder: Path) -> None:
    told: list[Decision] = []
    received = 0
    async with far_side() as port:
        rules = ProxyRules(frozenset([("r", port)]), total_bytes=100_000, private=True)
        async with Proxy(folder / "s", rules, told.append, loopback):
            reader, writer = await asyncio.open_unix_connection(folder / "s")
            writer.write(b"CONNECT r:%d HTTP/1.1\r\n\r\n" % port)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(os.urandom(300_000))
            with pytest.raises(ConnectionResetError):
                while data := await asyncio.wait_for(reader.read(1 << 16), 30):
                    received += len(data)
                raise ConnectionResetError
            assert received <= 100_000
            writer.close()
            assert b" 403 " in await asked(folder / "s", b"CONNECT r:%d HTTP/1.1\r\n\r\n" % port)


async def test_who_says_nothing_or_too_much_is_not_waited_for(folder: Path) -> None:
    async with Proxy(folder / "s", ProxyRules(frozenset()), lambda decision: None):
        reader, writer = await asyncio.open_unix_connection(folder / "s")
        writer.write(b"x" * 20_000)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
        _, silent = await asyncio.open_unix_connection(folder / "s")
    silent.close()
