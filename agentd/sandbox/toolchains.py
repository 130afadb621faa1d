"""Language runtimes of the host, found by their programs, as read-only mounts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentd.sandbox.profile import BASE_PATH, Mount

PROGRAMS = ("python3", "node", "npm", "pnpm", "go", "cargo", "rustc", "java", "ruby", "deno", "bun", "uv")


@dataclass(frozen=True)
class ToolChains:
    """What to mount, and what PATH finds it by."""

    mounts: tuple[Mount, ...]
    path: str
    env: dict[str, str]


def find_tool_chains(path: str, home: Path, programs: Iterable[str] = PROGRAMS) -> ToolChains:
    """The tool chains that a PATH leads to, outside /usr, each at its own path.

    Only the folder of the tool chain is mounted, never a home or a folder that has settings or credentials beside it:
    of pyenv, nvm and asdf one version, of cargo its `bin` and rustup's tool chains.
    """
    roots: dict[Path, list[Path]] = {}
    env: dict[str, str] = {}
    for program in programs:
        found = shutil.which(program, path=path)
        if found is None:
            continue
        executable = Path(found)
        if executable.parent.name == "shims":
            executable = _behind_shim(executable) or executable
        resolved = executable.resolve()
        if ".cargo" in executable.parts:
            cargo = executable.parent
            rustup = home / ".rustup"
            roots.setdefault(cargo, []).append(cargo)
            if rustup.is_dir():
                roots.setdefault(rustup / "toolchains", [])
                env["RUSTUP_TOOLCHAIN"] = _rust_tool_chain(rustup)
                env["RUSTUP_HOME"] = str(rustup)
            continue
        root = resolved.parent.parent if resolved.parent.name == "bin" else resolved.parent
        if _is_tool_chain(root, home):
            roots.setdefault(root, []).append(root / "bin" if resolved.parent.name == "bin" else root)
    kept = [root for root in roots if not any(other != root and other in root.parents for other in roots)]
    folders = [str(folder) for found in roots.values() for folder in dict.fromkeys(found)]
    return ToolChains(
        tuple(Mount(root, str(root)) for root in kept), ":".join([*dict.fromkeys(folders), BASE_PATH]), env
    )


def _is_tool_chain(root: Path, home: Path) -> bool:
    inside_usr = Path("/usr") in (root, *root.parents)
    holds_home = root == home or root in home.parents
    dotted = root.parent == home and not root.name.startswith(".")
    return not inside_usr and not holds_home and not dotted and len(root.parts) > 2


def _behind_shim(shim: Path) -> Path | None:
    """The newest installed version that has the program, in the layouts of pyenv and asdf."""
    manager = shim.parent.parent
    found = [*manager.glob(f"versions/*/bin/{shim.name}"), *manager.glob(f"installs/*/*/bin/{shim.name}")]
    return max(found, default=None)


def _rust_tool_chain(rustup: Path) -> str:
    chains = sorted(folder.name for folder in (rustup / "toolchains").iterdir())
    return next((name for name in chains if name.startswith("stable")), chains[-1] if chains else "stable")
