"""A PostgreSQL of the tests' own: Debian's server in a scratch directory, on loopback, ended with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg


def programs() -> Path | None:
    """Where initdb and postgres are; None when no server is installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class Server:
    """One server with its data in a scratch directory. What it says goes to `postgres.log` in `folder`."""

    def __init__(self, folder: Path) -> None:
        bin_dir = programs()
        assert bin_dir is not None
        self.bin_dir, self.log = bin_dir, folder / "postgres.log"
        # initdb refuses root, so root borrows the user that Debian's package made.
        root = os.getuid() == 0
        self.borrow = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
        self.data = Path(tempfile.mkdtemp(prefix="agentd-postgres-"))
        if root:
            shutil.chown(self.data, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        subprocess.run(
            [*self.borrow, bin_dir / "initdb", "-D", self.data / "db", "-U", "agentd", "--auth=trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of its first database, without a password."""
        return f"postgresql+psycopg://agentd@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = ["-p", str(self.port), "-k", str(self.data), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.borrow, self.bin_dir / "postgres", "-D", self.data / "db", *settings],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        _wait(self.address.replace("+psycopg", ""))

    def stop(self) -> None:
        """End it without waiting for its clients."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server that may be stopped and started meanwhile."""
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()
        shutil.rmtree(made.data, ignore_errors=True)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server that runs meanwhile."""
    with running(folder) as made:
        yield made.address


def database(address: str, name: str, template: str = "") -> str:
    """A new database on the server, empty or a copy of another one; its address."""
    copied = f' TEMPLATE "{template}"' if template else ""
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"{copied}'.encode())
    return f"{address.rpartition('/')[0]}/{quote(name)}"


def _wait(address: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(address, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
