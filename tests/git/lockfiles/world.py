"""A repository in which a task and its base both changed, and a runner of package managers without a sandbox."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentd.git.lockfiles.regenerate import Parents, Regenerated, regenerate
from agentd.git.lockfiles.scratch import checked_out
from agentd.git.lockfiles.tool import Ran, Refused
from agentd.git.mirror import Mirror
from agentd.git.runner import Author
from agentd.git.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = Path(os.environ.get("AGENTD_PACKAGE_MANAGERS_DIR", ROOT / ".package-managers"))
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
AUTHOR = Author("tester", "tester@example.org")
Files = Mapping[str, str | bytes]


def program_of(manager: str, program: str) -> Path | None:
    """A package manager that scripts/install-package-managers has installed, else one on PATH that works.

    What is called yarn there is yarn 1.
    """
    installed = INSTALLED / manager / "bin" / program
    if installed.exists():
        return installed
    found = shutil.which(program) if manager == program else None
    return Path(found) if found and works(found) else None


def works(program: str) -> bool:
    """False also for what a version manager has on PATH without a version behind it."""
    found, asked = shutil.which(program), "version" if program == "go" else "--version"
    return found is not None and subprocess.run([found, asked], capture_output=True).returncode == 0


@dataclass
class HostRunner:
    """Runs programs on the host, in an environment of their own."""

    tree: Path
    home_path: Path
    path: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return str(self.home_path)

    async def run(self, argv: Sequence[str], folder: str, env: Mapping[str, str], hosts: Sequence[str]) -> Ran:
        self.home_path.mkdir(parents=True, exist_ok=True)
        program = shutil.which(argv[0], path=self.path)
        if program is None:
            return Ran(127, "not on PATH", "not_installed")
        certificates = {name: os.environ[name] for name in CERTIFICATES if name in os.environ}
        done = subprocess.run(
            [program, *argv[1:]],
            cwd=self.tree / folder,
            env={"PATH": self.path, "HOME": self.home, "CI": "1", **certificates, **self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=150,
        )
        return Ran(done.returncode, done.stdout.decode(errors="replace"))


@dataclass
class World:
    """A mirror, and what a test does with it."""

    mirror: Mirror
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    """for the package managers"""

    def commit(self, files: Files, *parents: str) -> str:
        """A commit that has the first parent's files and these."""
        environment = {"GIT_INDEX_FILE": str(self.folder / "making-index")}
        self.mirror.git("read-tree", parents[0] if parents else "--empty", environment=environment)
        for path, text in files.items():
            content = text if isinstance(text, bytes) else text.encode()
            blob = self.mirror.git("hash-object", "-w", "--stdin", stdin=content)
            self.mirror.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=environment)
        tree = self.mirror.git("write-tree", environment=environment)
        options = [word for parent in parents for word in ("-p", parent)]
        return self.mirror.git("commit-tree", tree, *options, stdin=b"x\n", environment=AUTHOR.environment())

    def read(self, commit: str, path: str) -> str:
        return self.mirror.git("show", f"{commit}:{path}")

    def changed(self, before: str, after: str) -> list[str]:
        return self.mirror.git("diff", "--name-only", before, after).split()

    def runner(self, path: str) -> HostRunner:
        return HostRunner(self.folder / "scratch" / "tree", self.folder / "home", path, self.env)

    async def lock(self, commit: str, path: str, command: Sequence[str], env: Mapping[str, str]) -> dict[str, bytes]:
        """What a command makes of a commit's files; the test's own way to a lockfile."""
        async with checked_out(self.mirror, self.folder / "scratch", commit) as place:
            runner = self.runner(path)
            done = await runner.run(command, "", {n: v.replace("{home}", runner.home) for n, v in env.items()}, ())
            assert done.exit_status == 0, done.output
            return {str(f.relative_to(place.path)): f.read_bytes() for f in place.path.rglob("*") if f.is_file()}

    async def regenerate(
        self, parents: Parents, lockfiles: Sequence[str], path: str, hosts: tuple[str, ...] = ()
    ) -> Regenerated | Refused:
        def runner_in(place: Workspace) -> HostRunner:
            return HostRunner(place.path, self.folder / "home", path, self.env)

        return await regenerate(self.mirror, parents, lockfiles, self.folder / "scratch", runner_in, hosts)
