"""A TCP line to a server of this machine, which can be cut, or go dead as where packets are lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Line:
    """Listens at `port` and passes everything on to the server at another one."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.whole = True
        self.open: list[socket.socket] = []
        self.flows = threading.Event()
        self.flows.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """What is open is dropped, and so is what comes."""
        self.whole = False
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def deaden(self) -> None:
        """Nothing is dropped and nothing arrives: until it is mended both ends wait."""
        self.flows.clear()

    def mend(self) -> None:
        """As new; what was sent while it was dead arrives now."""
        self.whole = True
        self.flows.set()

    def _serve(self) -> None:
        while True:
            near, _ = self.listener.accept()
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self.flows.wait()
        try:
            if not self.whole:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        self.open += [near, far]
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        self._carry(far, near)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while received := source.recv(65536):
                self.flows.wait()
                target.sendall(received)
        self.flows.wait()  # an end is no more heard of than a byte
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
