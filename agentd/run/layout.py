"""Which layout a new workspace gets on this host."""

from __future__ import annotations

from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.git.layouts.bases import folder_of
from agentd.git.mirror import Mirror
from agentd.git.workspace import LayoutName
from agentd.model import Profile
from agentd.sandbox.overlay import overlay_problem


def layout_for(settings: Settings, mirror: Mirror, profile: Profile, *, is_sandboxed: bool) -> LayoutName:
    """The layout that the settings ask for, or what works here. Raises ConfigurationError when they ask too much."""
    if not is_sandboxed or settings.layout == "clone":
        return "clone"
    if settings.layout == "worktree":
        if not profile.trusted:
            raise ConfigurationError(untrusted(profile))
        return "worktree"
    problem = overlay_problem(folder_of(mirror), settings.workspaces)
    if problem and settings.layout == "overlay":
        raise ConfigurationError(f"layout = overlay: {problem}; set layout = auto or clone")
    return "clone" if problem else "overlay"


def layout_problem(settings: Settings, mirror: Mirror) -> str:
    """Why no run can have the layout that the settings ask for on this host; empty when one can."""
    if settings.layout == "worktree":
        return ""
    try:
        layout_for(settings, mirror, Profile(name="any", adapter="command"), is_sandboxed=True)
    except ConfigurationError as error:
        return str(error)
    return ""


def untrusted(profile: Profile) -> str:
    """What is said of a profile that may not have the layout."""
    return f"layout = worktree is for trusted profiles, and profile {profile.name!r} has not trusted = true"
