"""Signs of life other than output: whether anything in a folder has changed since the last look."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

MOST_ENTRIES = 200_000
"""Entries of a folder that one look takes in at most; a change beyond them is not seen."""
MOST_DEPTH = 200
"""Folders within folders that are entered; one file descriptor is open for each."""
SLACK_NS = 50_000_000
"""A file system's clock stands still for up to a tick, and what was written just before the start is no sign."""


class Watch:
    """Folders that a program writes in; made at its start, so that only what happens from then on counts."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self.since_ns = time.time_ns() + SLACK_NS
        self.last: int | None = None

    def changed(self) -> bool:
        """True when anything was made, changed, renamed or removed since the look before; one lstat an entry.

        The first look compares with the start, so that nothing has to be read then. The time stamps are those of
        the inodes, which no program can set. The folder's own does not count in it: being mounted changes that too.
        """
        fingerprint, newest_ns = 0, 0
        for folder in self.folders:
            for number, found in enumerate(islice(_entries(folder), MOST_ENTRIES)):
                fingerprint += hash((found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns))
                newest_ns = max(newest_ns, found.st_ctime_ns if number else 0)
        before, self.last = self.last, fingerprint
        return newest_ns > self.since_ns if before is None else fingerprint != before


def _entries(folder: Path) -> Iterator[os.stat_result]:
    """The folder and what is in it, never through a link, also when one is put in the way meanwhile."""
    inside: list[tuple[int, Iterator[os.DirEntry[str]]]] = []

    def enter(name: str, parent: int | None) -> Iterator[os.stat_result]:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except OSError:
            return  # gone, not a folder any more, or shut by the program
        try:
            with os.scandir(descriptor) as found:
                inside.append((descriptor, iter(list(islice(found, MOST_ENTRIES)))))
        except OSError:
            os.close(descriptor)
            return
        yield os.stat(descriptor)  # noqa: PTH116  # a descriptor has no path that a link could not have taken

    try:
        yield from enter(str(folder), None)
        while inside:
            descriptor, entries = inside[-1]
            entry = next(entries, None)
            if entry is None:
                inside.pop()
                os.close(descriptor)
            elif entry.is_dir(follow_symlinks=False) and len(inside) < MOST_DEPTH:
                yield from enter(entry.name, descriptor)
            else:
                try:
                    yield entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it was removed a moment ago
    finally:
        for descriptor, _ in inside:
            os.close(descriptor)
