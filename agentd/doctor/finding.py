"""What a check found: one shape, with a code that stays, what was seen, and what mends it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]
EDIT = "${EDITOR:-vi}"
"""What opens a file that only a person can correct."""


@dataclass(frozen=True)
class Fix:
    """A command that mends a finding, for programs."""

    argv: tuple[str, ...]
    safe: bool = False
    """True when it can do no harm whatever the reason of the finding is: `agentd doctor --fix` runs only these"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    code: str
    """`group.thing`; it never changes its meaning"""
    level: Level
    title: str
    message: str
    remediation: str = ""
    """lines for a shell, or what a person has to do; empty when all is well"""
    subject: str = ""
    """what of several it is about: a run, a task, a branch"""
    evidence: tuple[str, ...] = ()
    fix: Fix | None = None

    @property
    def fingerprint(self) -> str:
        """The same for the same trouble at every look: 16 hex digits over code, level and subject."""
        return hashlib.sha256(f"{self.code}\n{self.level}\n{self.subject}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Code:
    """One kind of finding, as it is described in docs/reference/doctor.md."""

    code: str
    title: str
    means: str
    """what a warn or fail says"""
    do: str
    """what mends it, in words"""

    def ok(self, message: str, subject: str = "", evidence: tuple[str, ...] = ()) -> Finding:
        """All is well."""
        return Finding(self.code, "ok", self.title, message, subject=subject, evidence=evidence)

    def warn(
        self,
        message: str,
        remediation: str,
        subject: str = "",
        evidence: tuple[str, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """Something should be mended; work goes on."""
        return Finding(self.code, "warn", self.title, message, remediation, subject, evidence, fix)

    def fail(
        self,
        message: str,
        remediation: str,
        subject: str = "",
        evidence: tuple[str, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """Something does not work."""
        return Finding(self.code, "fail", self.title, message, remediation, subject, evidence, fix)


def safe(*argv: str) -> Fix:
    """A fix that `agentd doctor --fix` may run."""
    return Fix(argv, safe=True)
