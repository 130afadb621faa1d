"""Language runtimes of the host, found by their programs, as read-only mounts."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentd.errors import ConfigurationError
from agentd.sandbox.installations import Installed, installation
from agentd.sandbox.profile import BASE_PATH, Mount, merged

PROGRAMS = ("python3", "node", "npm", "pnpm", "go", "gofmt", "cargo", "rustc", "java", "ruby", "deno", "bun", "uv")


@dataclass(frozen=True)
class ToolChains:
    """What to mount, and what PATH finds it by."""

    mounts: tuple[Mount, ...]
    path: str
    links: tuple[tuple[str, str], ...] = ()
    """as in SandboxSpec"""
    refused: tuple[str, ...] = ()
    """why a program that is on PATH is not inside, a sentence each"""


def find_tool_chains(path: str, home: Path, programs: Iterable[str] = PROGRAMS) -> ToolChains:
    """The tool chains that a PATH leads to, outside /usr, each at its own path.

    Only the tool chain itself is mounted, never a home or a folder that has settings or credentials beside it: of
    pyenv, nvm, asdf and rustup one version, of `~/.local/bin` the program alone.
    """
    found: list[Installed] = []
    refused: list[str] = []
    for program in programs:
        executable = shutil.which(program, path=path)
        if executable is None:
            continue
        place = Path(executable).absolute()
        try:
            found.append(installation(_behind_rustup(place, home) or place, path))
        except ConfigurationError as error:
            refused.append(str(error))
    folders = dict.fromkeys(folder for each in found for folder in each.folders)
    links = dict.fromkeys(link for each in found for link in each.links)
    return ToolChains(
        merged(*(each.mounts for each in found)),
        ":".join([*folders, BASE_PATH]),
        tuple(links),
        tuple(dict.fromkeys(refused)),
    )


def _behind_rustup(executable: Path, home: Path) -> Path | None:
    """The program of a tool chain that one of rustup's own, in CARGO_HOME/bin, would start; None when it is no such.

    rustup itself writes to its folder at every start, so that its own programs fail where that is read-only. The folder
    is beside CARGO_HOME, whether below a home or, in images, in /usr/local.
    """
    cargo_home = executable.parent.parent
    if cargo_home.name not in (".cargo", "cargo"):
        return None
    for rustup in (cargo_home.parent / ".rustup", cargo_home.parent / "rustup", home / ".rustup"):
        found = sorted(rustup.glob(f"toolchains/*/bin/{executable.name}"))
        chosen = [each for each in found if each.parent.parent.name == _default_tool_chain(rustup)]
        stable = [each for each in found if each.parent.parent.name.startswith("stable")]
        if found:
            return [*chosen, *stable, *found][0]
    return None


def _default_tool_chain(rustup: Path) -> str:
    settings = rustup / "settings.toml"
    return str(tomllib.loads(settings.read_text()).get("default_toolchain", "")) if settings.is_file() else ""
