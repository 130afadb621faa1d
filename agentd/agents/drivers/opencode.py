"""Starts OpenCode, unless the repository would make it run code; it takes this program's place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .plugins import refusal

REFUSED = "AgentdRefused"


def main(arguments: list[str]) -> int:
    """Does not return where OpenCode may be started; what is refused is told as OpenCode tells errors."""
    argv = arguments[arguments.index("--") + 1 :]
    reason = refusal("opencode", str(Path.cwd()))
    if reason:
        print(json.dumps({"type": "error", "error": {"name": REFUSED, "data": {"message": reason}}}), flush=True)
        return 1
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"agentd: cannot start {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
