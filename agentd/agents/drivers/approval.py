"""May the agent do what it asks for? agentd's hook is asked where there is one; else anything within the workspace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOOK_SECONDS = 30.0


@dataclass(frozen=True)
class Wish:
    """What a tool call would do: run a command, or write files, or go to the network; or nothing of the kind."""

    command: str | Sequence[str] | None = None
    paths: tuple[str, ...] = ()
    is_command: bool = False
    """true also where the command itself was not told"""
    is_fetch: bool = False


@dataclass(frozen=True)
class Judge:
    """Whom to ask, and about what place."""

    workspace: str
    hook: tuple[str, ...] = ()

    def refusal(self, wish: Wish) -> str:
        """Why not; "" when it may."""
        if wish.is_fetch:
            return "fetching from the network is not allowed; the shell reaches the hosts that the profile names"
        if wish.is_command:
            if not self.hook:
                return ""
            if not wish.command:
                return "the command to run was not told, so nothing could judge it"
            return self._asked("Bash", {"command": wish.command})
        for path in wish.paths:
            reason = self._asked("Write", {"file_path": path}) if self.hook else self._outside(path)
            if reason:
                return reason
        return ""

    def _outside(self, path: str) -> str:
        real = os.path.realpath(Path(self.workspace) / path)
        inside = real == self.workspace or real.startswith(os.path.realpath(self.workspace) + "/")
        return "" if inside else f"{path} is outside {self.workspace}"

    def _asked(self, tool: str, given: dict[str, Any]) -> str:
        """The hook's answer as agents with Claude Code's hooks get it: a refusal is printed, and nothing else is."""
        asked = {"hook_event_name": "PreToolUse", "cwd": self.workspace, "tool_name": tool, "tool_input": given}
        try:
            done = subprocess.run(
                self.hook, input=json.dumps(asked).encode(), stdout=subprocess.PIPE, timeout=HOOK_SECONDS
            )
            if done.returncode != 0:
                return f"the policy could not be asked (exit status {done.returncode})"
            if not done.stdout.strip():
                return ""
            decision = json.loads(done.stdout)["hookSpecificOutput"]
            allowed = decision["permissionDecision"] == "allow"
            return "" if allowed else str(decision.get("permissionDecisionReason") or "not allowed")
        except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, KeyError, RecursionError) as error:
            return f"the policy could not be asked ({type(error).__name__})"
