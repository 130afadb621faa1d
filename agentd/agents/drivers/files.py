"""Reading and writing files for an agent: in the workspace and nowhere else, whatever links are on the way."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

MAX_BYTES = 16 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Outside(Exception):
    """The path leads out of the workspace, or something is in its way; the message names it."""


def read_text(workspace: str, path: str, first: int = 1, limit: int | None = None) -> str:
    """The lines of a file from `first` (1 is the first) on, `limit` of them or all. Raises Outside, OSError."""
    with ExitStack() as stack:
        descriptor = _opened(stack, workspace, path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb", closefd=False) as file:
            text = file.read(MAX_BYTES).decode(errors="replace")
    if first <= 1 and limit is None:
        return text
    lines = text.splitlines(keepends=True)[max(0, first - 1) :]
    return "".join(lines if limit is None else lines[: max(0, limit)])


def write_text(workspace: str, path: str, text: str) -> None:
    """Replace a file's content, or make it and the folders above it.

    Raises Outside, OSError, and UnicodeEncodeError for what no file can hold.
    """
    # Before the file is opened, which empties it.
    data = text.encode(errors="surrogateescape")
    with ExitStack() as stack:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        descriptor = _opened(stack, workspace, path, flags, make_folders=True)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)


def _opened(stack: ExitStack, workspace: str, path: str, flags: int, make_folders: bool = False) -> int:
    """The file's descriptor, closed by the stack. Links that stay in the workspace are resolved before.

    After that none is followed: the agent may change what is on the way at any time.
    """
    root = os.path.realpath(workspace)
    real = os.path.realpath(Path(root) / path)
    if not real.startswith(root + "/"):
        raise Outside(f"{path} is outside the workspace")
    *folders, name = os.path.relpath(real, root).split("/")
    try:
        descriptor = _kept(stack, os.open(root, FOLDER))
        for folder in folders:
            if make_folders:
                _make(folder, descriptor)
            descriptor = _kept(stack, os.open(folder, FOLDER, dir_fd=descriptor))
        return _kept(stack, os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=descriptor))
    except NotADirectoryError:
        raise Outside(f"{path}: a folder on the way is none") from None


def _make(folder: str, parent: int) -> None:
    try:
        os.mkdir(folder, dir_fd=parent)
    except FileExistsError:
        pass


def _kept(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor
