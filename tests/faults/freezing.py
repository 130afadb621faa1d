"""agentd that stops itself, as a machine that is suspended would, just before one write of a run, and once only.

`python -m tests.faults.freezing POINT FLAG worker`: FLAG is a file that is made before the process stops.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from agentd import cli
from agentd.run.stages import publish, start

POINTS: dict[str, tuple[Any, str, int]] = {
    "start label": (start, "set_status", 1),
    "start comment": (start, "upsert_sticky", 1),
    "push": (publish, "bring", 1),
    "pull request": (publish, "ensure_pull", 1),
    "label": (publish, "set_status", 1),
    "comment": (publish, "upsert_sticky", 1),
}
"""Name -> module, function, and which call of it; the claim is checked after that, before the write itself."""


def freeze(point: str, flag: Path) -> None:
    """Arm the point."""
    module, name, wanted = POINTS[point]
    function, calls = getattr(module, name), [0]

    @functools.wraps(function)
    def frozen(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == wanted and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return function(*args, **kwargs)

    setattr(module, name, frozen)


if __name__ == "__main__":
    freeze(sys.argv[1], Path(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    cli.main()
