"""Which user of this machine is at the other end of a connection within it, as proc_pid_net(5) tells."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
ESTABLISHED = "01"

Address = tuple[str, int]


def owner_of(peer: Address, mine: Address, tables: Iterable[Path] = TABLES) -> int | None:
    """The user id of the process that connected from `peer` to `mine`; None when the kernel does not say."""
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, remote, state, user = (line.split()[at] for at in (1, 2, 3, 7))
            if state == ESTABLISHED and _address(local) == peer and _address(remote) == mine:
                return int(user)
    return None


def address_of(name: Any) -> Address:
    """The address in what a socket calls its name."""
    return str(ipaddress.ip_address(str(name[0]).partition("%")[0])), int(name[1])


def _address(word: str) -> Address:
    """`0100007F:1F90` is 127.0.0.1, port 8080: words of four bytes in the machine's order."""
    digits, _, port = word.partition(":")
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))), int(port, 16)
