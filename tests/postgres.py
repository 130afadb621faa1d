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


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Runs a server with its data below `folder`; the address of its database, without a password."""
    bin_dir = programs()
    assert bin_dir is not None
    # initdb refuses root, so root borrows the user that Debian's package made.
    borrow = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    data = Path(tempfile.mkdtemp(prefix="agentd-postgres-"))
    if borrow:
        shutil.chown(data, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [*borrow, bin_dir / "initdb", "-D", data / "db", "-U", "agentd", "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = ["-p", str(port), "-k", str(data), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [*borrow, bin_dir / "postgres", "-D", data / "db", *options], stdout=log, stderr=log, cwd="/"
        )
    address = f"postgresql://agentd@127.0.0.1:{port}/postgres"
    try:
        _wait(address)
        yield address.replace("postgresql://", "postgresql+psycopg://")
    finally:
        process.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        process.wait(timeout=20)
        shutil.rmtree(data, ignore_errors=True)


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
