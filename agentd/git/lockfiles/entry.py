"""What a lockfile says of one package, in the same words for every package manager."""

from __future__ import annotations

from dataclasses import dataclass

from agentd.errors import AgentdError

IN_TREE = "file:"
"""Begins a source that is a path relative to the lockfile's folder."""
BUNDLED = "bundled:"
"""The source of what has none of its own: it comes inside another package, or only gives one a second name."""

ALIAS = "alias"


class LockfileUnreadable(AgentdError):
    """A lockfile or manifest that is not what its name says: broken, too large, too deep, or of an unknown format."""


@dataclass(frozen=True)
class Entry:
    """One package at one version."""

    name: str
    version: str
    sources: tuple[str, ...] = ()
    """addresses that its content comes from, or `file:<path>`; empty: the format names none, so the registry"""
    integrity: frozenset[str] = frozenset()
    """hashes, each as the lockfile writes it, with the file's name where it has several files"""
    has_install_script: bool | None = None
    """whether installing it runs code of its own (for Python: whether it must be built); None: the format is silent"""
    needs: tuple[str, ...] = ()
    """names of the packages that it depends on"""

    @property
    def is_local(self) -> bool:
        """True when its content is part of the tree, or of another package."""
        return bool(self.sources) and all(source.startswith((IN_TREE, BUNDLED)) for source in self.sources)

    @property
    def is_alias(self) -> bool:
        """True when it only says which package a name stands for; see `alias`."""
        return self.version == ALIAS and self.sources == (BUNDLED,)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def alias(name: str, real: str) -> Entry:
    """A second name for a package, so that whoever needs the one is known to need the other."""
    return Entry(name, ALIAS, (BUNDLED,), needs=(real,))
