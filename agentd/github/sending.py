"""The last moment before a request leaves this machine, and the first after its answer is there.

Between the check of a claim and the first byte on the wire a process may be stopped for longer than its lease lives.
GitHub knows no fencing tokens, so a clock is looked at once more immediately before each piece is sent: what is left
of that moment is a few microseconds. Behind an HTTP proxy only the check before counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_local = threading.local()


@contextmanager
def watched(check: Callable[[], None]) -> Iterator[None]:
    """Calls `check` before each piece that this thread sends; what it raises ends the request half way."""
    _local.check = check
    try:
        yield
    finally:
        _local.check = None


def _look() -> None:
    check = getattr(_local, "check", None)
    if check is not None:
        check()


class _Plain(HTTPConnection):
    def send(self, data: Any) -> None:
        _look()
        super().send(data)


class _Secure(HTTPSConnection):
    def send(self, data: Any) -> None:
        _look()
        super().send(data)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


def _staying(response: Any) -> Any:
    """The response, so that PyGithub cannot follow a 301.

    It would drop the query, and with it the filter of a list, and go on to another repository's issue where this one
    was transferred.
    """
    response.headers.pop("Location", None)
    return response


class WatchedHTTP(HTTPRequestsConnectionClass):
    """PyGithub's connection over pools that look before they send, and where it was sent to only."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.adapter.poolmanager.pool_classes_by_scheme = _POOLS

    def getresponse(self) -> Any:
        return _staying(super().getresponse())


class WatchedHTTPS(HTTPSRequestsConnectionClass):
    """The same over TLS."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.adapter.poolmanager.pool_classes_by_scheme = _POOLS

    def getresponse(self) -> Any:
        return _staying(super().getresponse())
