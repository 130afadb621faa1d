"""What is kept of a program's output: without secrets, as far as there is room. The guardian must start fast."""

from __future__ import annotations

import os
from typing import Any

from agentd.sandbox.redact import Redactor

CHUNK = 1 << 16


class KeptOutput:
    """The log of both streams, and the file of standard output alone."""

    def __init__(self, log_path: str, out_path: str, secrets: list[str], most_bytes: int) -> None:
        self.log = open(log_path, "ab", buffering=0)  # noqa: SIM115  # kept open
        self.out = open(out_path, "wb", buffering=0)  # noqa: SIM115
        self.redactors = {is_out: Redactor(secrets) for is_out in (True, False)}
        self.most_bytes = most_bytes
        self.kept = 0
        self.dropped = 0
        self.written = 0
        """by the program, kept or not"""

    def read(self, stream: Any, is_out: bool) -> bool | None:
        """One read from a pipe: whether there was something, and None at its end."""
        try:
            received = os.read(stream.fileno(), CHUNK)
        except BlockingIOError:
            return False
        if not received:
            self.flush(is_out)
            return None
        self.written += len(received)
        self._keep(self.redactors[is_out].feed(received), is_out)
        return True

    def flush(self, is_out: bool) -> None:
        """Keep what was held back, in case a secret had begun in it."""
        self._keep(self.redactors[is_out].flush(), is_out)

    def _keep(self, data: bytes, is_out: bool) -> None:
        part = data[: max(0, self.most_bytes - self.kept)]
        self.kept += len(part)
        self.dropped += len(data) - len(part)
        try:
            self.log.write(part)
            if is_out:
                self.out.write(part)
        except OSError:
            self.dropped += len(part)
