"""What must be there, read-only, so that a program found on the host runs in a sandbox under the same path."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentd.errors import ConfigurationError
from agentd.sandbox.profile import BASE_PATH, OWN_PLACES, PROVIDED, Mount, is_within, merged

VERSION_FOLDERS = (
    ("versions", "node", "*"),  # nvm
    ("versions", "*"),  # pyenv, rbenv, nodenv, and programs that update themselves
    ("installs", "*", "*"),  # asdf, mise
    ("uv", "python", "*"),
    ("node-versions", "*"),  # fnm
    ("tools", "image", "*", "*"),  # volta
    ("toolchains", "*"),  # rustup
)
"""The ends of folders that hold one version of something; the folder above is the manager's, with all versions."""

PREFIX_MARKS = (
    "lib/python3.*/os.py",
    "include/node",
    "lib/node_modules/npm",
    "pkg/tool",  # Go
    "lib/jrt-fs.jar",  # Java
    "lib/rustlib",
    "lib/ruby",
)
"""What makes the folder above a program's `bin` an installation, and no place where programs of all kinds lie."""

CREDENTIALS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", ".netrc", ".npmrc", ".pypirc"),
    *(".git-credentials", ".env", ".claude", ".codex"),
)
"""A folder with one of these is somebody's, and is never mounted."""

_WRAPPED = re.compile(rb'^ *exec node +"\$basedir/([^"]+)"', re.MULTILINE)
_WRAPPER_BYTES = 8192
_MAX_LINKS = 40
"""As the kernel has it (path_resolution(7))."""
_SHEBANG_BYTES = 256
"""As the kernel has it (BINPRM_BUF_SIZE)."""


@dataclass(frozen=True)
class Installed:
    """What to add to a sandbox for a program."""

    mounts: tuple[Mount, ...] = ()
    """each at its own path, read-only; none overlaps another"""
    links: tuple[tuple[str, str], ...] = ()
    """symlinks on the way to the program: the real path that each leads to, and its place"""
    folders: tuple[str, ...] = ()
    """to be on PATH, so that the program and its interpreter are found by name; without those that always are"""


def installation(program: Path, path: str = BASE_PATH) -> Installed:
    """The installation of a program, given as it is found on PATH, and of its script's interpreter.

    `path` is where `#!/usr/bin/env NAME` is looked up, besides the program's own folder. Of a package manager only the
    packages are mounted, of a version manager one version, of anything else the file alone; never a home. Raises
    ConfigurationError naming the program where that cannot be.
    """
    if not program.is_absolute():
        raise ConfigurationError(f"the program {str(program)!r} must be given by its whole path")
    try:
        parts = list(_parts(program, path))
    except OSError as error:
        raise ConfigurationError(f"{program} cannot be made to run in the sandbox: {error}") from None
    mounts = merged(*(part.mounts for part in parts))
    shown = [*PROVIDED, *(mount.target for mount in mounts)]
    links = dict.fromkeys(link for part in parts for link in part.links)
    for place in (*(mount.target for mount in mounts), *(place for _, place in links)):
        if any(is_within(place, own) and not any(is_within(place, each) for each in PROVIDED) for own in OWN_PLACES):
            raise ConfigurationError(
                f"{program} cannot be made to run in the sandbox: {place} is where the sandbox has something of its "
                "own; install it elsewhere, /opt for example"
            )
    return Installed(
        mounts,
        tuple(link for link in links if not any(is_within(link[1], folder) for folder in shown)),
        tuple(dict.fromkeys(folder for part in parts for folder in part.folders if folder not in BASE_PATH.split(":"))),
    )


def behind_shim(shim: Path) -> Path | None:
    """What a version manager's shim stands for: the version that is set for everybody, else the newest that has it."""
    manager = shim.parent.parent
    found = [*manager.glob(f"versions/*/bin/{shim.name}"), *manager.glob(f"installs/*/*/bin/{shim.name}")]
    wanted = (manager / "version").read_text().split() if (manager / "version").is_file() else []
    for version in wanted:
        if chosen := [each for each in found if f"{each.parent.parent.name}.".startswith(f"{version}.")]:
            return max(chosen, key=_version)
    return max(found, key=_version, default=None)


def root_of(real: Path) -> Path:
    """The folder, or the file alone, that a program needs; `real` has no symlink in it and is not below /usr."""
    if Path("/nix/store") in real.parents:
        return Path("/nix/store")  # A program there needs others of it, and everybody may read it.
    if "node_modules" in real.parts:
        outermost = Path(*real.parts[: real.parts.index("node_modules") + 1])
        # pnpm has a package's dependencies as links to folders beside its own.
        return next((folder for folder in outermost.parents if folder.name == ".pnpm"), outermost)
    outermost_first = real.parents[::-1]
    for pattern in VERSION_FOLDERS:
        for folder in outermost_first:
            if len(folder.parts) > len(pattern) and folder.match("/".join(pattern)):
                return folder
    above = real.parent.parent
    if real.parent.name == "bin" and above.name != ".local" and any(any(above.glob(mark)) for mark in PREFIX_MARKS):
        return above
    if len(real.parts) > 3 and real.parts[1] == "opt" and real.parts[2] != "bin":
        return Path(*real.parts[:3])
    return real


def may_be_mounted(root: Path) -> bool:
    """False for /, a home, what holds a home, and a folder that somebody keeps credentials in."""
    if is_within(str(Path.home()), str(root)) or (root.is_dir() and root.parent in (Path("/home"), Path("/"))):
        return False
    return not any((root / name).exists() for name in CREDENTIALS)


def _parts(program: Path, path: str) -> Iterator[Installed]:
    real, part = _program(program)
    yield part
    wrapped = _behind_wrapper(real)
    if wrapped is not None:
        real, part = _program(wrapped)
        yield Installed(part.mounts, part.links)
    search = f"{path}:{program.parent}"
    interpreter = _interpreter(real, search)
    if interpreter is not None:
        try:
            part = _program(interpreter)[1]
            # One that is named whole, as in a virtual environment, must not become everybody's python.
            yield part if str(interpreter.parent) in search.split(":") else Installed(part.mounts, part.links)
        except ConfigurationError as error:
            raise ConfigurationError(f"{program} is run by {interpreter}: {error}") from None
        _check_imports(program, real)


def _program(program: Path) -> tuple[Path, Installed]:
    """Where a program really is, and what it needs, its interpreter aside."""
    links = []
    place = program
    if program.parent.name == "shims":
        behind = behind_shim(program)
        if behind is None:
            raise ConfigurationError(f"{program} is a shim, and no installed version has a {program.name}")
        place = behind
        links.append((str(behind.resolve()), str(program)))
    *steps, real = _way(place)
    if not real.is_file():
        raise ConfigurationError(f"{program} is no program: there is no file at {real}")
    links += [(str(step.resolve()), str(step)) for step in steps]
    roots = [] if _is_provided(real) else [_virtual_environment(real) or root_of(real)]
    roots += [venv for step in steps if not _is_provided(step) and (venv := _virtual_environment(step))]
    for venv in [root for root in roots if (root / "pyvenv.cfg").is_file()]:
        for step in _way(_base(venv)):
            if step.is_symlink():
                links.append((str(step.resolve()), str(step)))
            elif not _is_provided(step):
                roots.append(root_of(step))
    for root in roots:
        if not may_be_mounted(root):
            raise ConfigurationError(
                f"{program} cannot be made to run in the sandbox: it is installed in {root}, which is a home, holds "
                "credentials or is the whole of what lies there; install it in a folder of its own"
            )
    return real, Installed(tuple(Mount(root, str(root)) for root in roots), tuple(links), (str(place.parent),))


def _way(path: Path) -> list[Path]:
    """Every symlink on the way, each named by real folders, and then the real path."""
    done, rest, links = Path("/"), deque(path.parts[1:]), []
    while rest:
        part = rest.popleft()
        done = done.parent if part == ".." else done / part
        if done.is_symlink():
            links.append(done)
            if len(links) > _MAX_LINKS:
                raise ConfigurationError(f"{path} is no program: its symlinks lead in a circle")
            target = done.readlink()
            rest.extendleft(reversed([each for each in target.parts if each != "/"]))
            done = Path("/") if target.is_absolute() else done.parent
    return [*links, done]


def _virtual_environment(place: Path) -> Path | None:
    return next((folder for folder in place.parents if (folder / "pyvenv.cfg").is_file()), None)


def _base(venv: Path) -> Path:
    """The interpreter that a virtual environment was made with (PEP 405)."""
    settings = dict(line.split("=", 1) for line in (venv / "pyvenv.cfg").read_text().splitlines() if "=" in line)
    home = Path(next((value.strip() for name, value in settings.items() if name.strip() == "home"), ""))
    found = next((home / name for name in ("python3", "python") if (home / name).exists()), None)
    if found is None:
        raise ConfigurationError(f"the virtual environment {venv} was made with {home}/python3, which is not there")
    return found


def _interpreter(script: Path, path: str) -> Path | None:
    """The program that a script's first line asks for; None when it is no script."""
    with script.open("rb") as file:
        first = file.read(_SHEBANG_BYTES).split(b"\n")[0]
    words = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
    if not words:
        return None
    if Path(words[0]).name != "env":
        return Path(words[0])
    name = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
    found = shutil.which(name, path=path)
    if found is None:
        raise ConfigurationError(f"{script} is run by {name!r}, which is not on PATH ({path})")
    return Path(found).absolute()


def _behind_wrapper(script: Path) -> Path | None:
    """The script in a package that a shell script of `pnpm add --global` runs; None when it is no such."""
    with script.open("rb") as file:
        text = file.read(_WRAPPER_BYTES)
    named = _WRAPPED.search(text) if text.startswith(b"#!/bin/sh") else None
    return script.parent / os.fsdecode(named[1]) if named else None


def _check_imports(program: Path, script: Path) -> None:
    """Raises ConfigurationError for what `pip install --user` leaves: its packages lie in a home that is not inside."""
    module = re.search(rb"^from (\w+)[\w.]* import ", script.read_bytes()[:4096], re.MULTILINE)
    if module and not _is_provided(script) and root_of(script) == script:
        for packages in script.parent.parent.glob("lib/python3.*/site-packages"):
            if any(packages.glob(f"{module[1].decode()}*")) and not _virtual_environment(script):
                raise ConfigurationError(
                    f"{program} cannot be made to run in the sandbox: its packages lie in {packages}, which everything "
                    "of this user shares; install it with pipx or `uv tool install`"
                )


def _is_provided(place: Path) -> bool:
    return any(is_within(str(place), folder) for folder in PROVIDED)


def _version(executable: Path) -> tuple[tuple[int, str], ...]:
    """Orders 3.9 before 3.11."""
    version = executable.parent.parent.name
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[^\d.]+", version))
