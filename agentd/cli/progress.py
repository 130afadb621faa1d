"""A sign of life on a terminal, for what takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
AGAIN_SECONDS = 0.2


@contextmanager
def progress(what: str, of: int) -> Iterator[Callable[[str], None]]:
    """While inside, after two seconds: how much is done. What is given is called with each part that is.

    It goes to standard error, and only where that is a terminal.
    """
    done: list[str] = []
    over = threading.Event()

    def show() -> None:
        if over.wait(QUIET_SECONDS):
            return
        began = time.monotonic() - QUIET_SECONDS
        while not over.wait(AGAIN_SECONDS):
            sys.stderr.write(f"\r{what}: {len(done)} of {of}, {time.monotonic() - began:.0f} s\x1b[K")
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    shower = threading.Thread(target=show, daemon=True)
    if sys.stderr.isatty():
        shower.start()
    try:
        yield done.append
    finally:
        over.set()
        if shower.is_alive():
            shower.join()
