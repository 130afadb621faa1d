"""The layouts of workspaces, each one file with the functions that agentd.git.layouts.protocol names."""

from __future__ import annotations

from types import ModuleType

from agentd.git.layouts import clone, overlay, worktree

LAYOUTS: dict[str, ModuleType] = {"clone": clone, "overlay": overlay, "worktree": worktree}
