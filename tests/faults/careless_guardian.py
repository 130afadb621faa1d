"""A guardian that guards nothing: it outlives its worker and knows no lease. For the negative control alone.

Started like the real one, `python -I -S careless_guardian.py SPEC.json`; all but what is bent is the real one's.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

REAL = Path(__file__).resolve().parents[2] / "agentd" / "run" / "guardian.py"


def main() -> int:
    spec = importlib.util.spec_from_file_location("guardian", REAL)
    assert spec is not None and spec.loader is not None
    guardian: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guardian)

    class Careless(guardian.Guardian):  # type: ignore[misc]
        def command(self) -> None:
            if not os.read(0, guardian.CHUNK):
                self.selector.unregister(0)

        def watch(self) -> None:
            self.lease_at = float("inf")
            super().watch()

    guardian.Guardian = Careless
    return int(guardian.main())


if __name__ == "__main__":
    sys.exit(main())
