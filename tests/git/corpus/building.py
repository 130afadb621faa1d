"""What a scenario is, and how it becomes a repository: one `git fast-import`, no working tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agentd.git.mirror import Mirror
from agentd.git.runner import Author, git

AGENTD = Author("agentd", "agentd@example.org")
PERSON = Author("Ada Człowiek", "ada@example.org")
LINKED = ("1" * 40, "2" * 40, "3" * 40)
"""Commits that submodules point at; nobody has them."""


@dataclass(frozen=True)
class File:
    """What a path holds, when it is no plain text file."""

    data: bytes
    mode: str = "100644"


Content = str | bytes | File | None
"""None: removed."""


def link(target: str) -> File:
    return File(target.encode(), "120000")


def program(text: str) -> File:
    return File(text.encode(), "100755")


def submodule(sha: str) -> File:
    return File(sha.encode(), "160000")


@dataclass(frozen=True)
class Step:
    """One commit. Its parent is the one before it on its line, unless `on` names others."""

    files: Mapping[str, Content] = field(default_factory=dict)
    on: tuple[str, ...] = ()
    """names of the parents: `0` is the start, `u1` the first upstream commit, `t1` the task's first"""
    by: Author = AGENTD
    """who committed it"""
    author: bytes = b"An Agent <agent@example.org> 1700000000 +0130"
    message: bytes = b"a change\n"
    encoding: str = ""


@dataclass(frozen=True)
class Scenario:
    """What stands there, and what a sync must make of it."""

    name: str
    stands: str
    way: Literal["base", "branch", "rebase", "merge", "conflict"]
    start: Mapping[str, Content] = field(default_factory=lambda: {"kept.txt": "kept\n"})
    upstream: Sequence[Step] = ()
    task: Sequence[Step] = ()
    files: tuple[str, ...] = ()
    """paths in conflict"""
    lockfiles: tuple[str, ...] = ()
    merged_lockfiles: tuple[str, ...] = ()
    dropped: int = 0
    reason: str = ""
    """a part of what is said"""
    base: str = ""
    """the base's commit when it is not the last one of `upstream`"""
    branch: str = ""
    recorded: str = ""
    """the commit that the branch was last synced onto"""
    moved: tuple[str, ...] = ()
    """paths that the result has neither as the base nor as the branch: one of them renamed what the other edited"""
    hostile: bool = False
    """hooks, signing and drivers that write a file when they are run are configured in every place there is"""

    @property
    def status(self) -> str:
        if self.way == "conflict":
            return "conflict"
        return "lockfiles" if self.lockfiles else "clean"


@dataclass(frozen=True)
class Built:
    """A scenario as a repository."""

    mirror: Mirror
    shas: Mapping[str, str]
    """step names to commits"""
    base: str
    branch: str
    recorded: str


def build(scenario: Scenario, folder: Path) -> Built:
    """The scenario's commits in a bare mirror, with the refs that a fetch leaves."""
    path = folder / "mirror.git"
    git("init", "--quiet", "--bare", "--template=", str(path), cwd=folder)
    mirror = Mirror(path, "file:///nowhere", "", "main", AGENTD)
    steps = {"0": Step(scenario.start, by=PERSON)}
    for line, commits in (("u", scenario.upstream), ("t", scenario.task)):
        for number, step in enumerate(commits, 1):
            steps[f"{line}{number}"] = step
    marks: dict[str, int] = {}
    stream: list[bytes] = []
    for name in steps:
        _emit(name, steps, marks, stream)
    base = scenario.base or f"u{len(scenario.upstream)}".replace("u0", "0")
    branch = scenario.branch or f"t{len(scenario.task)}".replace("t0", "0")
    for ref, name in (("refs/remotes/origin/main", base), ("refs/remotes/origin/agent/P0-01", branch)):
        stream.append(f"reset {ref}\nfrom :{marks[name]}\n\n".encode())
    exported = folder / "marks"
    mirror.git("fast-import", "--quiet", f"--export-marks={exported}", stdin=b"".join(stream))
    shas = {int(mark[1:]): sha for mark, sha in (line.split() for line in exported.read_text().splitlines())}
    named = {name: shas[mark] for name, mark in marks.items()}
    return Built(mirror, named, named[base], named[branch], named.get(scenario.recorded, ""))


def _emit(name: str, steps: Mapping[str, Step], marks: dict[str, int], stream: list[bytes]) -> None:
    if name in marks:
        return
    step = steps[name]
    parents = parents_of(name, step)
    for parent in parents:
        _emit(parent, steps, marks, stream)
    marks[name] = len(marks) + 1
    # Each commit is a second after the one before it, and a person's never has the date of agentd's.
    when = 1_700_000_000 + marks[name]
    committer = f"{step.by.name} <{step.by.email}> {when} +0000".encode()
    stream.append(f"commit refs/scenario/{name}\nmark :{marks[name]}\n".encode())
    stream.append(b"author " + step.author + b"\ncommitter " + committer + b"\n")
    if step.encoding:
        stream.append(f"encoding {step.encoding}\n".encode())
    stream.append(_data(step.message))
    for word, parent in zip(("from", *["merge"] * 9), parents, strict=False):
        stream.append(f"{word} :{marks[parent]}\n".encode())
    # Removed first, so that a folder can take a file's place.
    for path, content in sorted(step.files.items(), key=lambda item: item[1] is not None):
        stream.append(_change(path, content))
    stream.append(b"\n")


def parents_of(name: str, step: Step) -> tuple[str, ...]:
    """The names of the commits that a step stands on."""
    if step.on or name == "0":
        return tuple(parent for parent in step.on if parent != "none")
    return (f"{name[0]}{int(name[1:]) - 1}",) if name[1:] != "1" else ("0",)


def _change(path: str, content: Content) -> bytes:
    quoted = b'"' + b"".join(b"\\%03o" % byte for byte in path.encode(errors="surrogateescape")) + b'"'
    if content is None:
        return b"D " + quoted + b"\n"
    if isinstance(content, str):
        content = content.encode(errors="surrogateescape")
    file = content if isinstance(content, File) else File(content)
    if file.mode == "160000":
        return b"M 160000 " + file.data + b" " + quoted + b"\n"
    return f"M {file.mode} inline ".encode() + quoted + b"\n" + _data(file.data)


def _data(data: bytes) -> bytes:
    return b"data %d\n" % len(data) + data + b"\n"


def numbered(count: int = 20, **changed: str) -> str:
    """A text of so many lines; `l3="x"` makes the third another one."""
    lines = {number: f"line {number}" for number in range(1, count + 1)}
    lines |= {int(name[1:]): text for name, text in changed.items()}
    return "".join(f"{text}\n" for text in lines.values())
