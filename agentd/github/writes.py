"""How something is made once: look, make, and after an unknown outcome look again before another try."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agentd.errors import Rejected, Unavailable
from agentd.github.client import GitHub

T = TypeVar("T")

PAUSES_SECONDS = (1.0, 4.0)
"""Between the tries: GitHub's lists may lag a moment behind a write, and so may what it knows of a branch that was
pushed just now (https://github.com/mislav/hub/pull/1294)."""


def make_once(gh: GitHub, look: Callable[[], T | None], make: Callable[[], T]) -> tuple[T, bool]:
    """(what `look` finds or `make` makes, whether it was made here). At most three tries.

    After a refusal (409, 422 "already exists") too: another holder may have been quicker. Raises what `make` raised
    when it is not there afterwards.
    """
    with gh.writing():
        found = look()
        for pause in (*PAUSES_SECONDS, None):
            if found is not None:
                return found, False
            try:
                return make(), True
            except (Rejected, Unavailable):
                if pause is None:
                    raise
                gh.sleep(pause)
                found = look()
    raise AssertionError("unreachable: the last try returns or raises")
