"""What a run may change: the difference between two commits, judged from git's objects. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentd.model import Decision, Verdict

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

SYMLINK, GITLINK = "120000", "160000"
ABSENT = "000000"
MOST_EVIDENCE = 20
"""Paths that a Verdict names; of more it says how many."""


@dataclass(frozen=True)
class Change:
    """One path that differs between two commits."""

    path: str
    old_mode: str
    """as git writes it, `000000` where there is none"""
    new_mode: str
    old_sha: str
    new_sha: str

    @property
    def is_new_content(self) -> bool:
        """Whether there is a file or link with other content than before."""
        return self.new_mode not in (ABSENT, GITLINK) and self.new_sha != self.old_sha


@dataclass(frozen=True)
class Content:
    """What stands in a file that was added or changed."""

    size_bytes: int
    is_binary: bool = False
    """a NUL byte among the first 8,000, which is what git goes by"""
    link: str = ""
    """target of a symbolic link"""
    secrets: tuple[str, ...] = ()
    """what looks like a secret and was not there before, told without showing it"""


@dataclass(frozen=True)
class DiffRules:
    """The limits. Patterns are written as in .gitignore, and meant without regard to upper and lower case."""

    max_files: int = 100
    max_bytes: int = 4_000_000
    protected: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    """where binary files may be added or changed"""
    secrets: tuple[str, ...] = ()
    """where what looks like a secret is none"""


def check_patterns(patterns: Iterable[str]) -> None:
    """Raises ValueError for a pattern that cannot be read."""
    for pattern in patterns:
        try:
            _matcher([pattern])
        except ValueError:
            raise ValueError(f"{pattern!r} is no pattern as in .gitignore") from None


def judge(
    scope: str, changes: Iterable[Change], contents: Mapping[str, Content], rules: DiffRules
) -> tuple[Verdict, ...]:
    """A Verdict (deny) for each rule that the changes break, none when all is well.

    `contents` is by path, for every change with new content; it may be empty when there is more than `max_bytes`.
    """
    found = list(changes)
    verdicts: list[Verdict] = []

    def deny(rule: str, what: list[str], observed: str, action: str, limit: str = "") -> None:
        if what:
            more = [f"and {len(what) - MOST_EVIDENCE} more"] if len(what) > MOST_EVIDENCE else []
            verdicts.append(
                Verdict(
                    control="diff",
                    rule_id=rule,
                    decision=Decision.deny,
                    scope=scope,
                    observed=observed,
                    limit=limit,
                    action=action,
                    evidence=(*what[:MOST_EVIDENCE], *more),
                )
            )

    paths = [change.path for change in found]
    deny(
        "max_files",
        paths if len(found) > rules.max_files else [],
        f"{len(found)} files are changed",
        "change fewer files; what a build makes belongs into .gitignore",
        f"{rules.max_files} (max_files under [diff])",
    )
    size = sum(content.size_bytes for content in contents.values())
    largest = sorted(contents, key=lambda path: -contents[path].size_bytes)
    deny(
        "max_bytes",
        [f"{path}: {contents[path].size_bytes:,} bytes" for path in largest] if size > rules.max_bytes else [],
        f"the files that were added or changed have {size:,} bytes",
        "leave large files out",
        f"{rules.max_bytes:,} (max_bytes under [diff])",
    )
    allowed = _matcher(rules.binary)
    deny(
        "binary",
        [path for path, content in contents.items() if content.is_binary and not _matches(allowed, path)],
        "a binary file was added or changed, which nobody can review",
        "leave it out, or let the settings allow it (binary under [diff])",
    )
    links = [change.path for change in found if change.new_mode == SYMLINK and change.path in contents]
    deny(
        "symlink",
        [f"{path} -> {contents[path].link}" for path in links if leaves_tree(path, contents[path].link)],
        "a symbolic link leads out of the tree",
        "link to something in the tree, or copy it",
    )
    deny(
        "submodule",
        [change.path for change in found if GITLINK in (change.new_mode, change.old_mode)],
        "a submodule was added, moved or removed",
        "leave submodules as they are",
    )
    protected = _matcher(rules.protected)
    deny(
        "protected_path",
        [path for path in paths if _matches(protected, path)],
        "a protected path was changed",
        "leave it as it is; a person has to change it (protected under [diff])",
    )
    harmless = _matcher(rules.secrets)
    deny(
        "secret",
        [
            f"{path}: {secret}"
            for path, content in contents.items()
            for secret in content.secrets
            if not _matches(harmless, path)
        ],
        "something that looks like a secret was written into a file",
        "take it out; where it is none, the settings may say so (secrets under [diff])",
    )
    return tuple(verdicts)


def leaves_tree(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` leads out of the tree, or into a repository's own folder.

    A `..` behind a name leads out of what that name links to, so none is allowed there.
    """
    if target.startswith("/"):
        return True
    steps = [step for step in target.split("/") if step not in ("", ".")]
    names = list(itertools.dropwhile(lambda step: step == "..", steps))
    up = len(steps) - len(names)
    return up > path.count("/") or any(name == ".." or name.casefold() == ".git" for name in names)


def _matcher(patterns: Iterable[str]) -> GitIgnoreSpec:
    # Imported here: the settings need this module at every start, and it takes 70 ms.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(pattern.casefold() for pattern in patterns)


def _matches(spec: GitIgnoreSpec, path: str) -> bool:
    return spec.match_file(path.casefold())
