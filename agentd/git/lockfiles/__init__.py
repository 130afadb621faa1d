"""Lockfiles: which package manager a file is of, and which manifests it follows."""

from __future__ import annotations

from pathlib import PurePosixPath

from agentd.git.lockfiles import (
    bun,
    bundler,
    cargo,
    composer,
    go,
    npm,
    pipenv,
    pnpm,
    poetry,
    uv,
    yarn_berry,
    yarn_classic,
)
from agentd.git.lockfiles.manager import Manager

MANAGERS: tuple[Manager, ...] = (
    *(pnpm.MANAGER, npm.MANAGER, yarn_classic.MANAGER, yarn_berry.MANAGER, bun.MANAGER),
    *(uv.MANAGER, poetry.MANAGER, pipenv.MANAGER),
    *(cargo.MANAGER, go.MANAGER, bundler.MANAGER, composer.MANAGER),
)
_BY_FILE = {name: manager for manager in MANAGERS for name in manager.lockfiles}


def manager_of(path: str, content: bytes | None = None) -> Manager | None:
    """The package manager of a lockfile in any folder, by its name; None for any other file.

    The two kinds of yarn give their file the same name: without its content yarn 2 and later is assumed, and None is
    the answer for content that is of neither.
    """
    found = _BY_FILE.get(PurePosixPath(path).name)
    if found is None or found.program != yarn_berry.MANAGER.program:
        return found
    if content is None or yarn_berry.MARK in content or not content.strip():
        return yarn_berry.MANAGER
    return yarn_classic.MANAGER if yarn_classic.MARK in content else None


def manifests_of(path: str) -> tuple[str, ...]:
    """The manifests that a lockfile follows, beside it; empty for what is no lockfile.

    Of a workspace those of its members count as well: see agentd.git.lockfiles.regenerate.
    """
    manager = manager_of(path)
    folder = PurePosixPath(path).parent
    return tuple(str(folder / name) for name in manager.manifests) if manager else ()
