"""A package manager as data: its files, its commands, and how its lockfile is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agentd.git.lockfiles.entry import Entry

HOME = "{home}"
"""In commands and variables stands for the home that the program has while it runs."""


@dataclass(frozen=True)
class Manager:
    """One package manager. Commands begin with the program's name and run in the lockfile's folder."""

    name: str
    lockfiles: tuple[str, ...]
    manifests: tuple[str, ...]
    program: str
    regenerate: tuple[str, ...]
    """makes the lockfile fit the manifests, keeps what it pins where that still fits, and runs no install script"""
    check: tuple[str, ...]
    """ends with 0 when the lockfile fits the manifests; empty when the program has no such command"""
    read: Callable[[bytes], dict[str, Entry]]
    """every package of a lockfile, by a key that is the lockfile's own. Raises LockfileUnreadable"""
    requirements: Callable[[str, bytes], dict[str, str]]
    """what a manifest (its path, its content) asks for itself: name -> requirement. Raises LockfileUnreadable"""
    hosts: tuple[str, ...] = ()
    """the registries that it asks unless told otherwise; https"""
    sources: tuple[str, ...] = ()
    """sources that stand for those registries in the lockfile and are no address on `hosts`"""
    env: Mapping[str, str] = field(default_factory=dict)
    names: Callable[[str, str], bool] = lambda name, url: True
    """whether an address on a registry is one of the package with this name"""
    has_edges: bool = True
    """whether the lockfile says which package needs which"""
    is_hashed: bool = True
    """whether every package from a registry has a hash in the lockfile"""
    language: str = ""
    """the name under which `requirements` has the versions of the language itself, which decide what fits at all"""
    version: str = ""
    """pattern that `<program> --version` must match; empty: any"""
    version_flag: str = "--version"
    format: re.Pattern[bytes] | None = None
    """finds the line with the lockfile's format, which a program of another age would change"""
