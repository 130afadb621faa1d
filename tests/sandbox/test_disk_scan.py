"""How much is on the disk: counted in pieces, each file once, whatever becomes of the tree meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentd.sandbox.disk_scan import DiskScan


def test_the_disk_is_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    found = DiskScan([str(tmp_path)]).advance(10)
    assert found is not None and 10_000 <= found < 200_000


def test_a_count_of_the_disk_that_takes_long_goes_on_later_and_says_what_is_there_at_least(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 50_000)
    scan = DiskScan([str(tmp_path)])
    assert scan.advance(0) is None
    whole = scan.advance(10)
    assert whole is not None and whole >= 100_000
    (tmp_path / "a" / "more").write_bytes(b"x" * 500_000)
    assert scan.advance(0) == whole
    assert (scan.advance(10) or 0) >= 600_000


def test_a_file_with_several_names_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    for number in range(20):
        os.link(tmp_path / "file", tmp_path / str(number))
    scan = DiskScan([str(tmp_path)])
    for _ in range(2):
        assert 1_000_000 <= (scan.advance(10) or 0) < 2_000_000


DEPTH = 2500


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree that is deeper than any path is long, with a megabyte at its bottom."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as bottom:
        bottom.write(b"x" * 1_000_000)
    os.close(here)
    yield tmp_path
    # Before pytest does, which cannot.
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_tree_that_is_deeper_than_any_path_is_counted_in_pieces_too(deep: Path) -> None:
    (deep / "wide").mkdir()
    for number in range(100):
        (deep / "wide" / str(number)).write_bytes(b"x" * 1000)
    scan = DiskScan([str(deep)])
    pieces, before = 1, len(list(Path("/proc/self/fd").iterdir()))
    while (found := scan.advance(0)) is None and pieces < 10 * DEPTH:
        pieces += 1
        assert pieces % 100 or len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    assert found is not None and found > 1_100_000 and pieces > 2 * DEPTH + 100


def moved(folder: Path) -> None:
    folder.rename(folder.parent.parent.parent / "elsewhere")


@pytest.mark.parametrize("gone", [moved, shutil.rmtree])
def test_a_folder_that_goes_while_it_is_counted_takes_nothing_else_with_it(
    tmp_path: Path, gone: Callable[[Path], object]
) -> None:
    for pieces in range(30):
        tree = tmp_path / str(pieces) / "tree"
        for name in ("one/going/a/b", "one/staying", "two"):
            (tree / name).mkdir(parents=True)
        for name in ("one/staying/file", "two/file"):
            (tree / name).write_bytes(b"x" * 100_000)
        scan = DiskScan([str(tree)])
        for _ in range(pieces):
            assert scan.advance(0) is None or scan.whole
        gone(tree / "one" / "going")
        assert (scan.advance(10) or 0) >= 200_000


def test_a_folder_in_the_place_of_one_that_went_is_not_taken_for_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 1_000_000)
    for pieces in range(12):
        tree = tmp_path / str(pieces)
        (tree / "one" / "two" / "three").mkdir(parents=True)
        scan = DiskScan([str(tree)])
        for _ in range(pieces):
            scan.advance(0)
        (tree / "one" / "two").rename(tmp_path / f"{pieces}-two")
        (tree / "one" / "two").symlink_to(outside)
        assert 0 <= (scan.advance(10) or 0) < 1_000_000
