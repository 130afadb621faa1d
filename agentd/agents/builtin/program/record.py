"""What the agent has done, as far as it can be seen: the report is made from it when the model gives none."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from .events import FinalReport
from .shell import environment

GIT_SECONDS = 60.0
DIFF_CHARACTERS = 20_000
QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat")
"""The repository's configuration may have been written by whoever was here before."""
VERIFIES = re.compile(
    r"\b(?:tests?|pytest|unittest|check|verify|lint|build|compile|mypy|pyright|ruff|tsc|vet|clippy|make|tox|nox|jest|"
    r"vitest|gradlew?|mvn)\b|\btest_\w+|\w_test\b|^\s*\[|\bgrep\b"
)
"""What a command looks like that proves something."""


@dataclass
class Record:
    """Grows with every tool call."""

    folder: Path
    commands: list[str] = field(default_factory=list)
    """that verified something since the last change"""
    said: str = ""
    """the model's last words"""
    has_edited: bool = False
    _base: str = ""
    _seen: str = ""

    async def begin(self) -> None:
        """Take in how the files are before anything is done."""
        self._base = (await _git(self.folder, "rev-parse", "HEAD")).strip()
        self._seen = await self._fingerprint()

    async def changed(self) -> list[str]:
        """Files that differ from where this began, committed or not, and new ones; empty where there is no git."""
        differing = await _git(self.folder, "diff", "--name-only", "--no-renames", "-z", self._base)
        new = await _git(self.folder, "ls-files", "--others", "--exclude-standard", "-z")
        return sorted({name for name in f"{differing}{new}".split("\0") if name})

    async def _fingerprint(self) -> str:
        """Differs when a changed or new file does: its name, size or time."""
        seen = hashlib.sha256()
        for name in await self.changed():
            try:
                stat = (self.folder / name).lstat()
                told = f"{name}\0{stat.st_mode}\0{stat.st_size}\0{stat.st_mtime_ns}\0"
            except (OSError, ValueError):
                told = f"{name}\0gone\0"
            seen.update(told.encode(errors="replace"))
        return seen.hexdigest()

    async def note(self, name: str, command: str, ok: bool) -> None:
        """Take in a tool call that was made. A command that verified is later than what it changed itself."""
        if name not in ("shell", "write_file", "edit_file"):
            return
        verified = name == "shell" and ok and VERIFIES.search(command) is not None
        now = await self._fingerprint()
        if now != self._seen or (name != "shell" and ok):
            self._seen, self.has_edited = now, True
            self.commands.clear()
        if verified:
            self.commands.append(command)

    async def report(self, *, is_cut_off: bool) -> FinalReport | None:
        """The report in the model's place: verified work, else work that says it is not; None when there is none.

        Of a model that was stopped in the middle only verified work counts.
        """
        if not self.has_edited or (is_cut_off and not self.commands):
            return None
        files = tuple(await self.changed())
        diff = await _git(self.folder, "diff", "--no-ext-diff", "--no-textconv", self._base)
        why = "the number of its steps was used up" if is_cut_off else "the agent ended without a report"
        proof = f"verified by: {self.commands[-1]}" if self.commands else "no command verified it after the last change"
        said = f"\n\n{self.said}" if self.said else ""
        return FinalReport(
            f"{why}; {len(files)} files are changed, {proof}.{said}",
            files,
            tuple(dict.fromkeys(self.commands)),
            synthesised=True,
            tier=1 if self.commands else 2,
            diff=diff[:DIFF_CHARACTERS],
        )


async def _git(folder: Path, *arguments: str) -> str:
    """What git prints; empty when it fails or takes too long: the record is then of less, and says less."""
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *QUIET,
            *arguments,
            cwd=folder,
            env=environment()
            | {"GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        said, _ = await asyncio.wait_for(process.communicate(), GIT_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode(errors="replace") if process.returncode == 0 else ""
