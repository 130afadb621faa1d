"""The policy's word before a tool is used: the same program, and the same JSON, as the hooks of other agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 30.0


async def objection(hook: Sequence[str], name: str, given: Mapping[str, Any], folder: Path) -> str:
    """Why the call may not be made; empty when it may, or when nobody judges. Whatever goes wrong is an objection."""
    if not hook:
        return ""
    asked = {"tool_name": name, "tool_input": given, "cwd": str(folder)}
    try:
        process = await asyncio.create_subprocess_exec(
            *hook, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, complained = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        return f"the policy could not be asked: {error or type(error).__name__}"
    if process.returncode != 0:
        return f"the policy could not be asked: {complained.decode(errors='replace').strip() or process.returncode}"
    return _decision(said)


def _decision(said: bytes) -> str:
    """Nothing printed is leave to go on; anything that is no clear leave is none."""
    if not said.strip():
        return ""
    try:
        decision = json.loads(said)["hookSpecificOutput"]
        is_allowed = decision["permissionDecision"] == "allow"
        return "" if is_allowed else str(decision.get("permissionDecisionReason") or "the policy refuses it")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "the policy's answer cannot be read"
