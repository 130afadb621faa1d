"""agentd that stops itself, as a machine that is suspended would, just before one write of a run, and once only.

`python -m tests.faults.freezing POINT FLAG worker`: FLAG is a file that is made before the process stops.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd import cli
from agentd.run.stages import publish, start
from agentd.store import claims

POINTS: dict[str, tuple[Any, str, int]] = {
    "start label": (start, "set_status", 1),
    "start comment": (start, "upsert_sticky", 1),
    "push": (publish, "bring", 1),
    "pull request": (publish, "ensure_pull", 1),
    "label": (publish, "set_status", 1),
    "comment": (publish, "upsert_sticky", 1),
}
"""Name -> module, function, and which call of it; the claim is checked after that, before the write itself."""

IN_TRANSACTION = "claim check"
"""The point in the middle of a check: the claim's row is locked, and the server ends the connection meanwhile."""


def freeze(point: str, flag: Path) -> None:
    """Arm the point."""

    def stop() -> None:
        if not flag.exists():
            flag.touch()
            # To this very thread: one that signals the whole process may run on for milliseconds on a busy machine.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    if point == IN_TRANSACTION:
        armed = threading.local()
        _wrap(publish, "bring", after=lambda: setattr(armed, "is_set", True))
        _wrap(claims, "_row", after=lambda: stop() if hasattr(armed, "is_set") else None)
        return
    module, name, wanted = POINTS[point]
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == wanted:
            stop()

    _wrap(module, name, before=count)


def _wrap(
    module: Any, name: str, before: Callable[[], object] = lambda: None, after: Callable[[], object] = lambda: None
) -> None:
    function = getattr(module, name)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        after()
        return result

    setattr(module, name, wrapped)


if __name__ == "__main__":
    freeze(sys.argv[1], Path(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    cli.main()
