"""Which layout workspaces get here, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentd.config import Settings
from agentd.doctor.report import Check
from agentd.sandbox.overlay import overlay_problem


def checks(settings: Settings) -> Iterator[Check]:
    """The layout that the settings ask for, or what works here."""
    name = "workspaces.layout"
    if settings.sandbox == "none" or settings.layout == "clone":
        why = "without a sandbox there is no overlay" if settings.sandbox == "none" else "as layout says"
        yield Check(name=name, status="ok", observed=f"clone: {why}")
        return
    if settings.layout == "worktree":
        yield from _trusted(settings)
        return
    problem = overlay_problem(_existing(settings.state_dir), _existing(settings.workspaces))
    if not problem:
        yield Check(name=name, status="ok", observed="overlay: one was used, and files behave as they must")
    elif settings.layout == "overlay":
        remedy = "set layout = auto or clone; overlays need Linux 5.11, and a disk that is no overlay itself"
        yield Check(name=name, status="failure", observed=problem, remedy=remedy)
    else:
        yield Check(name=name, status="ok", observed=f"clone, because {problem}")


def _trusted(settings: Settings) -> Iterator[Check]:
    """What linked worktrees give away, and to whom."""
    names = ", ".join(sorted(name for name, profile in settings.profiles.items() if profile.trusted))
    name = "workspaces.layout"
    if not names:
        observed = "worktree is for trusted profiles, and no profile has trusted = true: nothing can start"
        remedy = "set trusted = true in one, or layout = auto"
        yield Check(name=name, status="failure", observed=observed, remedy=remedy)
        return
    observed = (
        f"worktree: agents of {names} can write the mirror's loose objects and branches, which all tasks share; "
        "they can take away unpublished work and salvage, and hold agentd up"
    )
    remedy = "set layout = auto; docs/security.md says what is not guaranteed otherwise"
    yield Check(name=name, status="warning", observed=observed, remedy=remedy)


def _existing(folder: Path) -> Path:
    """The folder, or what it will be made in: the doctor makes none."""
    return next(place for place in (folder, *folder.parents) if place.exists())
