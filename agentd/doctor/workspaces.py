"""Which layout workspaces get here, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.sandbox.overlay import overlay_problem

LAYOUT = Code(
    "workspaces.layout",
    "Workspace layout",
    "the layout that is asked for does not work here, or gives more away than others",
    'set `layout = "auto"`; docs/security.md says what is not guaranteed otherwise',
)
CODES = (LAYOUT,)
REMEDY = "export AGENTD_WORKSPACE_LAYOUT=auto"


def checks(visit: Visit) -> Iterator[Finding]:
    """The layout that the settings ask for, or what works here."""
    settings = visit.settings
    if settings.sandbox == "none" or settings.layout == "clone":
        why = "without a sandbox there is no overlay" if settings.sandbox == "none" else "as layout says"
        yield LAYOUT.ok(f"clone: {why}")
        return
    if settings.layout == "worktree":
        yield _trusted(visit)
        return
    problem = overlay_problem(_existing(settings.state_dir), _existing(settings.workspaces))
    if not problem:
        yield LAYOUT.ok("overlay: one was used, and files behave as they must")
    elif settings.layout == "overlay":
        said = f"{problem}; overlays need Linux 5.11, and a disk that is no overlay itself"
        yield LAYOUT.fail(said, REMEDY, subject="overlay")
    else:
        yield LAYOUT.ok(f"clone, because {problem}")


def _trusted(visit: Visit) -> Finding:
    """What linked worktrees give away, and to whom."""
    names = ", ".join(sorted(name for name, profile in visit.settings.profiles.items() if profile.trusted))
    if not names:
        said = "worktree is for trusted profiles, and no profile has trusted = true: nothing can start"
        return LAYOUT.fail(said, REMEDY, subject="worktree")
    said = (
        f"worktree: agents of {names} can write the mirror's loose objects and branches, which all tasks share; "
        "they can take away unpublished work and salvage, and hold agentd up"
    )
    return LAYOUT.warn(said, REMEDY, subject="worktree")


def _existing(folder: Path) -> Path:
    """The folder, or what it will be made in: the doctor makes none."""
    return next(place for place in (folder, *folder.parents) if place.exists())
