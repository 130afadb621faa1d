"""Which layout a new workspace gets on this host."""

from __future__ import annotations

from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.git.layouts.bases import folder_of
from agentd.git.mirror import Mirror
from agentd.git.workspace import LayoutName
from agentd.sandbox.overlay import overlay_problem


def layout_for(settings: Settings, mirror: Mirror, *, is_sandboxed: bool) -> LayoutName:
    """The layout that the settings ask for, or what works here. Raises ConfigurationError when they ask too much."""
    if not is_sandboxed or settings.layout == "clone":
        return "clone"
    problem = overlay_problem(folder_of(mirror), settings.workspaces)
    if problem and settings.layout == "overlay":
        raise ConfigurationError(f"layout = overlay: {problem}; set layout = auto or clone")
    return "clone" if problem else "overlay"
