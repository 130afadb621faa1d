"""The other end of a conversation: an agent's process that speaks JSON-RPC, one message a line, on its own pipes."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Message = dict[str, Any]
Handle = Callable[[str, Message], Any]
"""Takes a request's or notification's method and parameters; what it returns is a request's result."""

MAX_LINE_BYTES = 16 << 20
WAITING = 1000
"""Messages that were read and not yet handled; then the agent waits."""
GRACE_SECONDS = 2.0

INVALID_PARAMS, METHOD_NOT_FOUND, INTERNAL = -32602, -32601, -32603


class Refused(Exception):
    """The other side answered a request with an error, or a handler will not do what it is asked."""

    def __init__(self, message: str, code: int = INVALID_PARAMS, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Gone(Exception):
    """The agent ended, or closed its output, before it answered; the message says with what status."""


class Stopped(Exception):
    """Somebody sent SIGTERM: the run is over."""


class Peer:
    """The agent's process. A context manager; the process is gone after it."""

    def __init__(self, argv: Sequence[str], handle: Handle) -> None:
        self._handle = handle
        self._argv = argv
        self._messages: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._last = 0

    def __enter__(self) -> Peer:
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.exit_status(GRACE_SECONDS)

    def notify(self, method: str, params: Message | None = None) -> None:
        """Send a notification."""
        self._send({"method": method} | ({} if params is None else {"params": params}))

    def request(self, method: str, params: Message) -> Message:
        """The result of a request; what arrives meanwhile is handled. Raises Refused, Gone, Stopped."""
        number = self.ask(method, params)
        return self.answer_to(number)

    def ask(self, method: str, params: Message) -> int:
        """Send a request; its number is for `answer_to`."""
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        return self._last

    def answer_to(self, number: int, seconds: float | None = None) -> Message:
        """The result of the request of that number. Raises Refused, Gone, Stopped, TimeoutError."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            message = self._next(until)
            if "method" in message:
                self._serve(message)
            elif message.get("id") == number:
                error = message.get("error")
                if isinstance(error, dict):
                    raise Refused(str(error.get("message", "")), _code(error), error.get("data"))
                result = message.get("result")
                return result if isinstance(result, dict) else {}

    def pump(self, is_over: Callable[[], bool]) -> None:
        """Handle what arrives until `is_over`. Raises Gone, Stopped."""
        while not is_over():
            message = self._next(None)
            if "method" in message:
                self._serve(message)

    def exit_status(self, grace_seconds: float) -> int:
        """End the agent: its input is closed, then it is told, then killed. Negative for a signal."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill):
            try:
                return self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                end()
        return self._process.wait()

    def _next(self, until: float | None) -> Message:
        while True:
            try:
                line = self._messages.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError("no answer") from None
            if line is None:
                raise Gone(f"the agent ended without an answer (exit status {self.exit_status(GRACE_SECONDS)})")
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue  # Some print greetings or warnings between their messages.
            if isinstance(message, dict):
                return message

    def _serve(self, message: Message) -> None:
        params = message.get("params")
        answer: Message
        try:
            result = self._handle(str(message["method"]), params if isinstance(params, dict) else {})
            answer = {"result": result}
        except Refused as refusal:
            answer = {"error": {"code": refusal.code, "message": str(refusal)}}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            answer = {"error": {"code": INVALID_PARAMS, "message": f"it cannot be read: {type(error).__name__}"}}
        if "id" in message:
            self._send({"id": message["id"], **answer})

    def _send(self, message: Message) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise Gone(f"the agent listens no more (exit status {self.exit_status(GRACE_SECONDS)})") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            while line := self._process.stdout.readline(MAX_LINE_BYTES):
                self._messages.put(line)
        self._messages.put(None)


def stop_on_signal() -> None:
    """From now on SIGTERM and SIGINT raise Stopped where the program waits."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)


def _stopped(*_: object) -> None:
    # Once: what is done about it must not be interrupted by the next.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise Stopped("SIGTERM")


def _code(error: Message) -> int:
    code = error.get("code")
    return code if isinstance(code, int) else INTERNAL
