"""One request to the model's service and its answer, repeated where that may help."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .events import ErrorKind

TIMEOUT_SECONDS = 600.0
"""Without a byte from the service."""
MAX_BYTES = 32 << 20
WAITS_SECONDS = (0.5, 1.0, 2.0)
"""Between the tries, where nobody says otherwise; one more try than waits."""
LONGEST_WAIT_SECONDS = 60.0
"""A longer wait is the supervisor's, which can do something else meanwhile."""
SAID_CHARACTERS = 500


class ModelError(Exception):
    """The service gave no answer; `status` is None where there was none over HTTP."""

    def __init__(
        self, kind: ErrorKind, message: str, status: int | None, *, retryable: bool, wait_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.retryable, self.wait_seconds = kind, status, retryable, wait_seconds


@dataclass(frozen=True)
class Endpoint:
    """Where the model is."""

    base_url: str
    key: str
    model: str


Retried = Callable[[int, int | None, float], None]
"""Told of each repetition: which one it is, the status before it, and the wait in seconds."""


async def ask(
    url: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    read: Callable[[Any], Any],
    retried: Retried,
    waits_seconds: Sequence[float] = WAITS_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Any:
    """What `read` makes of the answer. Raises ModelError when the last try has failed, or no other one may help."""
    for number in range(len(waits_seconds) + 1):
        try:
            answer = await asyncio.to_thread(_post, url, headers, body)
            return _read(answer, read)
        except ModelError as error:
            if not error.retryable or number == len(waits_seconds):
                raise
            wait = waits_seconds[number] if error.wait_seconds is None else error.wait_seconds
            if wait > LONGEST_WAIT_SECONDS:
                raise
            retried(number + 1, error.status, wait)
            await sleep(wait)
    raise AssertionError("the last try returns or raises")


def _read(answer: bytes, read: Callable[[Any], Any]) -> Any:
    try:
        return read(json.loads(answer))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        said = f"the model's service sent a malformed response: {type(error).__name__}: {error}"
        raise ModelError("api_error", said[:SAID_CHARACTERS], None, retryable=True) from None


def _post(url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> bytes:
    sent = json.dumps(body).encode()
    request = urllib.request.Request(url, sent, {"content-type": "application/json", **headers}, method="POST")
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            answer: bytes = response.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        said = f"the connection to the model's service failed: {type(error).__name__}: {reason}"
        raise ModelError("api_error", said[:SAID_CHARACTERS], None, retryable=True) from None
    if len(answer) > MAX_BYTES:
        raise ModelError("api_error", f"the answer is longer than {MAX_BYTES} bytes", None, retryable=False)
    return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key goes to the address that it is for, and to no other one."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _refusal(error: urllib.error.HTTPError) -> ModelError:
    """What an HTTP status means; `x-should-retry: false` is the service's word that no repetition helps."""
    status = error.code
    try:
        said = error.read(1 << 16).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        said = ""
    message = f"the model's service answered {status}: {_message(said)}"
    should = (error.headers.get("x-should-retry") or "").lower()
    retryable = should != "false" and (should == "true" or status in (408, 409, 425, 429) or status >= 500)
    kind: ErrorKind = "api_error"
    if status in (401, 403):
        kind = "auth_error"
    elif status in (402, 429):
        kind = "quota"
    return ModelError(kind, message, status, retryable=retryable, wait_seconds=_wait(error.headers.get("retry-after")))


def _message(said: str) -> str:
    try:
        return str(json.loads(said)["error"]["message"])[:SAID_CHARACTERS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return said[:SAID_CHARACTERS]


def _wait(text: str | None) -> float | None:
    """Seconds of a Retry-After header; None where there is none, or a date."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
