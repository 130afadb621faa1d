"""A host with things that an agent must not reach, and ways to run a script in a sandbox that lacks a protection."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agentd.sandbox.launch import command_line, start_command
from agentd.sandbox.profile import Mount, SandboxSpec, environment

CANARY = "canary-7c1f"
ESCAPED = "ESCAPED"
PYTHON = str(Path(sys.executable).resolve())
GIT_ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": f"x@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
Edit = Callable[[list[str], "World"], list[str]]


def git(folder: Path, *arguments: str) -> str:
    """git on the host, without anybody's settings."""
    env = {"PATH": os.environ["PATH"], **GIT_ENV}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def python_mounts() -> tuple[Mount, ...]:
    """This Python, when it is not below /usr."""
    prefix = Path(PYTHON).parent.parent
    return () if Path("/usr") in prefix.parents or prefix == Path("/usr") else (Mount(prefix, str(prefix)),)


@dataclass(frozen=True)
class World:
    """Where everything is."""

    folder: Path
    sleeper: int
    port: int
    abstract: str
    spec: SandboxSpec

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def main(self) -> Path:
        return self.folder / "main.git"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def filled(self, script: str) -> str:
        """A script with the places of this world: %home% and so on."""
        names = {
            **{name: str(self.folder / name) for name in ("home", "peer", "private.git", "run", "outside")},
            "main": str(self.main),
            "world": str(self.folder),
            "python": PYTHON,
            "sleeper": str(self.sleeper),
            "port": str(self.port),
            "abstract": self.abstract,
        }
        for name, value in names.items():
            script = script.replace(f"%{name}%", shlex.quote(value))
        return script

    def run(self, script: str, *edits: Edit, spec: SandboxSpec | None = None, dirty: bool = False, fd: int = -1) -> str:
        """What the script printed, in a sandbox with the edits. `dirty`: bubblewrap is started with a secret."""
        chosen = spec or self.spec
        with command_line(chosen) as (command, fds):
            for edit in edits:
                command = edit(command, self)
            env = environment(chosen) | ({"TOKEN": CANARY} if dirty else {})
            passed = [*fds, *([fd] if fd >= 0 else [])]
            with start_command(command, passed, env, ["/bin/sh", "-c", self.filled(script)]) as contained:
                return contained.process.communicate(timeout=20)[0].decode(errors="replace")

    def run_bare(self, script: str) -> str:
        """What the script printed without any sandbox."""
        done = subprocess.run(["sh", "-c", self.filled(script)], cwd=self.workspace, capture_output=True, timeout=20)
        return done.stdout.decode(errors="replace")


def without(*parts: str) -> Edit:
    """Take arguments away; they must have been there."""

    def edit(command: list[str], world: World) -> list[str]:
        for at in range(len(command)):
            if tuple(command[at : at + len(parts)]) == parts:
                return command[:at] + command[at + len(parts) :]
        raise AssertionError(f"{parts} is not in the profile")

    return edit


def without_filter(command: list[str], world: World) -> list[str]:
    """No seccomp filter."""
    at = command.index("--seccomp")
    return command[:at] + command[at + 2 :]


def bound(place: str, *, how: str = "--bind") -> Edit:
    """Mount a place of the host at its own path."""

    def edit(command: list[str], world: World) -> list[str]:
        path = world.filled(place).strip("'")
        at = command.index("--remount-ro", command.index("--chdir"))
        return [*command[:at], how, path, path, *command[at:]]

    return edit


def with_host_processes(command: list[str], world: World) -> list[str]:
    """Neither a namespace of processes nor a /proc of its own."""
    at = command.index("--proc")
    shown = [*command[:at], "--ro-bind", "/proc", "/proc", *command[at + 4 :]]
    return [part for part in shown if part != "--unshare-pid"]


@contextmanager
def a_world(folder: Path) -> Iterator[World]:
    """Builds one, with a process, a TCP port and two sockets that listen."""
    (folder / "home" / ".ssh").mkdir(parents=True)
    (folder / "home" / ".ssh" / "id").write_text(CANARY)
    (folder / "home" / ".git-credentials").write_text(CANARY)
    (folder / "run").mkdir()
    _repositories(folder)
    abstract = f"agentd-test-{os.getpid()}-{folder.name}"
    sleeper = subprocess.Popen(["sleep", "98765"], env={"PATH": os.environ["PATH"], "TOKEN": CANARY})
    mounts = (Mount(folder / "main.git" / "objects", str(folder / "main.git" / "objects")), *python_mounts())
    spec = SandboxSpec(folder / "workspace", mounts=mounts, env=GIT_ENV)
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as path, socket.socket(socket.AF_UNIX) as hidden:
        tcp.bind(("127.0.0.1", 0))
        # A path of a socket may be 107 bytes long, which folders of tests may exceed.
        here = os.open(folder / "run", os.O_RDONLY)
        path.bind(f"/proc/self/fd/{here}/docker.sock")
        os.close(here)
        hidden.bind(f"\0{abstract}")
        for each in (tcp, path, hidden):
            each.listen()
        try:
            yield World(folder, sleeper.pid, tcp.getsockname()[1], abstract, spec)
        finally:
            sleeper.kill()
            sleeper.wait()


def _repositories(folder: Path) -> None:
    """A bare main with branches main and private, another private one, a peer worktree, and the run's shared clone."""
    seed, main = folder / "seed", folder / "main.git"
    for name in ("seed", "peer"):
        (folder / name).mkdir()
    git(seed, "init", "-q", "-b", "main")
    (seed / "a.txt").write_text("a\n")
    git(seed, "add", ".")
    git(seed, "commit", "-qm", "first")
    git(seed, "branch", "other")
    git(seed, "checkout", "-qb", "private")
    (seed / "secret.txt").write_text(f"{CANARY}\n")
    git(seed, "add", ".")
    git(seed, "commit", "-qm", "secret")
    git(seed, "checkout", "-q", "main")
    git(folder, "clone", "-q", "--bare", str(seed), str(main))
    git(folder, "clone", "-q", "--bare", str(seed), str(folder / "private.git"))
    git(main, "worktree", "add", "-q", str(folder / "peer" / "tree"), "other")
    shared = ("clone", "-q", "--shared", "--single-branch", "--no-tags")
    git(folder, *shared, str(main), str(folder / "workspace"))
    git(folder / "workspace", "checkout", "-qb", "run")


def own_clone(world: World) -> SandboxSpec:
    """A workspace with objects of its own, for repositories whose branches have different readers."""
    workspace = world.folder / "own"
    git(world.folder, "clone", "-q", "--no-local", "--single-branch", str(world.main), str(workspace))
    return replace(world.spec, workspace=workspace, mounts=world.spec.mounts[1:])
