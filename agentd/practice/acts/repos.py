"""Making and renaming repositories."""

from __future__ import annotations

import re

from agentd.practice.bare import BareRepository
from agentd.practice.refusal import invalid
from agentd.practice.world import Label, Repo, World

DEFAULT_LABELS = {
    "bug": "d73a4a",
    "documentation": "0075ca",
    "duplicate": "cfd3d7",
    "enhancement": "a2eeef",
    "good first issue": "7057ff",
    "help wanted": "008672",
    "invalid": "e4e669",
    "question": "d876e3",
    "wontfix": "ffffff",
}


def new_repo(world: World, full_name: str, private: bool, default_branch: str) -> Repo:
    """An empty repository with GitHub's labels; its owner is made if need be."""
    owner, _, name = full_name.partition("/")
    if not re.fullmatch(r"[\w.-]+", name):
        raise invalid("Repository", "name")
    if full_name.lower() in world.repos:
        raise invalid("Repository", "name", "custom", message="name already exists on this account")
    now = world.now()
    git = BareRepository(world.root / owner / f"{name}.git")
    git.create(default_branch)
    repo = Repo(world.next_id(), world.add_user(owner), name, git, now, now, now, private, default_branch)
    for label, color in DEFAULT_LABELS.items():
        repo.labels[label] = Label(world.next_id(), label, color, None, True)
    world.repos[full_name.lower()] = repo
    world.moved.pop(full_name.lower(), None)
    return repo


def rename(world: World, repo: Repo, name: str) -> None:
    """Gives another name; the old one redirects. The place on disk stays."""
    if name == repo.name:
        return
    new = f"{repo.owner.login}/{name}".lower()
    if not re.fullmatch(r"[\w.-]+", name) or new in world.repos:
        raise invalid("Repository", "name", "custom", message="name already exists on this account")
    del world.repos[repo.full_name.lower()]
    world.moved[repo.full_name.lower()] = repo
    repo.name = name
    world.repos[new] = repo
    world.moved.pop(new, None)
