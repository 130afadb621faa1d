"""How much is on the disk below some folders, counted in pieces. The guardian must start fast: few imports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

MOST_LINKED = 200_000
"""Files with several names that are remembered, so as to be counted once; further ones count by each name."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class DiskScan:
    """Bytes on disk in the folders, counted a little at a time: who counts must hear other things meanwhile.

    Symlinks are not followed; what vanishes, or cannot be read, is not counted.
    """

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders
        self.partial = 0
        self.whole: int | None = None
        """of the last count that came to its end"""
        self._steps = self._count()

    def advance(self, seconds: float) -> int | None:
        """Count for so long at most. What is there at least; None before the first count has come to its end."""
        until = time.monotonic() + seconds
        for _ in self._steps:
            if time.monotonic() >= until:
                break
        else:
            self.whole, self.partial, self._steps = self.partial, 0, self._count()
        return max(self.whole, self.partial) if self.whole is not None else None

    def _count(self) -> Iterator[None]:
        linked: set[tuple[int, int]] = set()
        walk = _Walk()
        try:
            for folder in self.folders:
                if walk.enter(folder):
                    yield from self._read(walk, linked)
                while walk.levels:
                    waiting = walk.levels[-1].waiting
                    if not waiting:
                        walk.leave()
                    elif walk.enter(waiting.pop()):
                        yield from self._read(walk, linked)
                    yield
        finally:
            walk.close()

    def _read(self, walk: _Walk, linked: set[tuple[int, int]]) -> Iterator[None]:
        """Count the files of the folder that was entered; its folders are put down as waiting."""
        try:
            with os.scandir(walk.at) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            walk.levels[-1].waiting.append(entry.name)
                        else:
                            self._add(entry.stat(follow_symlinks=False), linked)
                    except OSError:
                        pass
                    yield
        except OSError:
            return

    def _add(self, found: os.stat_result, linked: set[tuple[int, int]]) -> None:
        if found.st_nlink > 1:
            one = (found.st_dev, found.st_ino)
            if one in linked:
                return
            if len(linked) < MOST_LINKED:
                linked.add(one)
        self.partial += found.st_blocks * 512


class _Level(NamedTuple):
    """A folder on the way down."""

    name: str
    identity: tuple[int, int]
    waiting: list[str]
    """names of the folders in it that are still to be entered"""


class _Walk:
    """A place in a tree, held by the one descriptor `at`: a path can be made longer than any call takes."""

    def __init__(self) -> None:
        self.at = -1
        self.levels: list[_Level] = []

    def enter(self, name: str) -> bool:
        """Go down into a folder, or from nowhere to the top of a tree. False where that is not possible."""
        try:
            below, identity = _opened(name, self.at)
        except OSError:
            return False
        self._hold(below)
        self.levels.append(_Level(name, identity, []))
        return True

    def leave(self) -> None:
        """Go up, or away from the top."""
        self.levels.pop()
        if not self.levels:
            self.close()
            return
        try:
            above, identity = _opened("..", self.at)
        except OSError:
            self._go_back()
            return
        self._hold(above)
        if identity != self.levels[-1].identity:
            self._go_back()

    def close(self) -> None:
        """Be nowhere."""
        self._hold(-1)
        self.levels = []

    def _go_back(self) -> None:
        """Down from the top again by the names, as far as they still lead: the folder was moved or removed."""
        levels = self.levels
        self.close()
        for level in levels:
            try:
                below, identity = _opened(level.name, self.at)
            except OSError:
                return
            if identity != level.identity:
                os.close(below)
                return
            self._hold(below)
            self.levels.append(level)

    def _hold(self, descriptor: int) -> None:
        if self.at >= 0:
            os.close(self.at)
        self.at = descriptor


def _opened(name: str, folder: int) -> tuple[int, tuple[int, int]]:
    """A folder in another one, or a path where that is none: its descriptor and its identity. Raises OSError."""
    below = os.open(name, _FOLDER) if folder < 0 else os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        found = os.fstat(below)
    except OSError:
        os.close(below)
        raise
    return below, (found.st_dev, found.st_ino)
