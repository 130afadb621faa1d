"""One bare repository, through the git program only; it is the only truth about branches, commits and trees.

Looking up refs and objects goes through one long-lived `git cat-file`, which answers in a fraction of a
millisecond and always sees what another process has just written. Everything else is one git process in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ZERO = "0" * 40
CACHED_ANSWERS = 4096
SHA = re.compile(r"[0-9a-f]{40}")
PLAIN_NAME = re.compile(r"[^\x00-\x20\x7f]+")


class GitFailed(Exception):
    """git ended with an error; the message is what it printed."""

    def __init__(self, code: int, message: str, stdout: bytes) -> None:
        super().__init__(message)
        self.code = code
        self.stdout = stdout


@dataclass(frozen=True)
class Signature:
    name: str
    email: str
    at: datetime

    def raw(self) -> str:
        return f"{self.name} <{self.email}> {int(self.at.timestamp())} +0000"


@functools.cache
def environment() -> dict[str, str]:
    """No configuration but the repository's own, no prompts."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


class BareRepository:
    """State: the path, the cat-file process and answers that cannot change because they are keyed by sha."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batch: subprocess.Popen[bytes] | None = None
        self._cache: dict[tuple[Any, ...], Any] = {}

    def create(self, default_branch: str) -> None:
        """Makes the repository on disk. Objects are never pruned."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}"]
        subprocess.run([*command, str(self.path)], check=True, env=environment(), capture_output=True)
        settings = (
            "[http]\n\treceivepack = true\n[gc]\n\tauto = 0\n[receive]\n\tautogc = false\n\thideRefs = refs/pull\n"
        )
        with (self.path / "config").open("a") as file:
            file.write(settings + "[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n")

    def close(self) -> None:
        """Ends the cat-file process."""
        if self._batch is not None:
            assert self._batch.stdin is not None and self._batch.stdout is not None
            self._batch.stdin.close()
            self._batch.wait()
            self._batch.stdout.close()
            self._batch = None

    async def git(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        """Standard output of one git command; GitFailed when it ends with an error."""
        command = ["git", f"--git-dir={self.path}", *args]
        full_env = {**environment(), **(env or {})}

        def call() -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(command, input=stdin or b"", capture_output=True, env=full_env)

        done = await asyncio.get_running_loop().run_in_executor(None, call)
        if done.returncode != 0:
            raise GitFailed(done.returncode, done.stderr.decode(errors="replace").strip(), done.stdout)
        return done.stdout

    async def once(self, key: tuple[Any, ...], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer of `work`, remembered under `key`, which must hold shas only and nothing that can move."""
        if key not in self._cache:
            answer = await work()
            if len(self._cache) >= CACHED_ANSWERS:
                self._cache.clear()
            self._cache[key] = answer
        found: T = self._cache[key]
        return found

    def _ask(self, command: str, name: str) -> tuple[str, str, bytes]:
        if self._batch is None or self._batch.poll() is not None:
            self._batch = subprocess.Popen(
                ["git", f"--git-dir={self.path}", "cat-file", "--batch-command"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
        assert self._batch.stdin is not None and self._batch.stdout is not None
        self._batch.stdin.write(f"{command} {name}\n".encode())
        self._batch.stdin.flush()
        words = self._batch.stdout.readline().decode(errors="replace").rstrip("\n").rsplit(" ", 2)
        if len(words) != 3 or not SHA.fullmatch(words[0]):
            return "", "", b""
        content = b""
        if command == "contents":
            content = self._batch.stdout.read(int(words[2]) + 1)[:-1]
        return words[0], words[1], content

    def resolve(self, name: str) -> str | None:
        """The object id of a full ref name, sha or revision such as `HEAD^{commit}`; None when there is none."""
        if not PLAIN_NAME.fullmatch(name) or name.startswith("-"):
            return None
        return self._ask("info", name)[0] or None

    def branch(self, name: str) -> str | None:
        """The head commit of a branch."""
        return self.resolve(f"refs/heads/{name}^{{commit}}") if name else None

    def commit_of(self, name: str) -> str | None:
        """The commit that a branch, tag, full ref or sha names, in GitHub's order."""
        wanted = [f"refs/heads/{name}", f"refs/tags/{name}", *([name] if name.startswith("refs/") else [])]
        if re.fullmatch(r"[0-9a-f]{4,40}|HEAD", name):
            wanted.append(name)
        found = (self.resolve(f"{each}^{{commit}}") for each in wanted)
        return next((sha for sha in found if sha), None)

    def kind(self, name: str) -> tuple[str, str] | None:
        """Object id and type (blob, tree, commit, tag)."""
        if not PLAIN_NAME.fullmatch(name):
            return None
        sha, kind, _ = self._ask("info", name)
        return (sha, kind) if sha else None

    def read(self, name: str) -> tuple[str, str, bytes] | None:
        """Object id, type and content."""
        if "\n" in name:
            return None
        found = self._ask("contents", name)
        return found if found[0] else None

    async def refs(self, prefix: str) -> dict[str, str]:
        """Full ref names under a prefix (ending in "/") or exactly of that name, with what they point to."""
        listed = await self.git("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        rows = (line.split(" ", 1) for line in listed.decode().splitlines())
        return {name: sha for sha, name in rows}

    async def set_ref(self, name: str, new: str, old: str | None = None) -> None:
        """Moves a ref, checked against `old` if given (ZERO: must not exist). GitFailed when it is not so."""
        await self.git("update-ref", "--no-deref", name, new, *([old] if old else []))

    async def drop_ref(self, name: str) -> None:
        await self.git("update-ref", "--no-deref", "-d", name)

    async def is_ancestor(self, old: str, new: str) -> bool:
        async def work() -> bool:
            try:
                await self.git("merge-base", "--is-ancestor", old, new)
            except GitFailed as error:
                if error.code == 1:
                    return False
                raise
            return True

        return await self.once(("ancestor", old, new), work)

    async def commit(
        self, branch: str, files: Mapping[str, str | bytes | None], message: str, by: Signature, base: str | None
    ) -> str:
        """Adds a commit with these files (None deletes) on top of `base` to a branch; its sha."""
        text = message.encode()
        head = f"commit refs/heads/{branch}\nauthor {by.raw()}\ncommitter {by.raw()}\n"
        parts = [f"{head}data {len(text)}\n".encode(), text, b"\n"]
        if base:
            parts.append(f"from {base}\n".encode())
        for path, content in files.items():
            quoted = '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
            if content is None:
                parts.append(f"D {quoted}\n".encode())
                continue
            data = content.encode() if isinstance(content, str) else content
            parts += [f"M 100644 inline {quoted}\ndata {len(data)}\n".encode(), data, b"\n"]
        await self.git("fast-import", "--quiet", "--date-format=raw-permissive", stdin=b"".join(parts) + b"\ndone\n")
        made = self.branch(branch)
        assert made is not None
        return made
