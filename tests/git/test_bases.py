"""Base checkouts: made once, whole or not at all, and removed only when nothing is made of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import mirror, workspace
from agentd.git.layouts import bases
from agentd.git.layouts.bases import base_of, prune_bases, using
from agentd.git.mirror import Mirror
from agentd.git.workspace import View
from agentd.run.views import run_inside
from tests.git.scene import FILES, Scene, scene
from tests.git.test_git import commit, source, there  # noqa: F401  # fixtures


def names(there: Mirror) -> list[str]:  # noqa: F811
    """The bases that are there, and what else is no lock."""
    return sorted(path.name for path in there.bases.iterdir() if path.is_dir())


@pytest.fixture
def here(source: Path, there: Mirror, tmp_path: Path) -> Scene:  # noqa: F811
    commit(source, FILES)
    return scene(there, tmp_path, "overlay")


def make_slowly(there: Mirror, sha: str, moment: str, reached: Path) -> None:  # noqa: F811
    """Make a base, and stand still at a moment until somebody kills us."""

    def stop() -> None:
        reached.touch()
        time.sleep(60)

    def inside(view: View, *arguments: object, **options: object) -> str:
        if moment == "before the checkout":
            stop()
        if moment == "in the checkout":
            (view.files / "a.txt").write_text("half")
            stop()
        return run_inside(view, *arguments, **options)  # type: ignore[arg-type]

    def to_disk(folder: Path) -> None:
        stop()

    if moment == "before it has its name":
        bases._write_to_disk = to_disk
    with using(there):
        base_of(there, sha, inside)


@pytest.mark.parametrize("moment", ["before the checkout", "in the checkout", "before it has its name"])
def test_a_base_whose_maker_is_killed_is_not_there_and_the_next_one_makes_it(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    moment: str,
) -> None:
    commit(source, FILES)
    sha = mirror.fetch(there)
    reached = tmp_path / "reached"
    maker = multiprocessing.get_context("fork").Process(target=make_slowly, args=(there, sha, moment, reached))
    maker.start()
    while not reached.exists():
        assert maker.is_alive()
        time.sleep(0.01)
    assert not (there.bases / sha).exists()
    assert maker.pid is not None
    os.kill(maker.pid, signal.SIGKILL)
    maker.join()
    assert sha not in names(there) and len(names(there)) == 1
    here = scene(there, tmp_path, "overlay")
    assert names(there) == [sha]
    assert here.snapshot().changed == () and here.read("folder/deep/d.txt") == "four\n"


def test_many_at_once_make_one_base(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    commit(source, FILES)
    mirror.fetch(there)
    found: list[Scene] = []
    made: list[threading.Thread] = [
        threading.Thread(target=lambda name=f"r{number}": found.append(scene(there, tmp_path, "overlay", name)))  # type: ignore[misc]
        for number in range(8)
    ]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    assert len(found) == 8 and len(names(there)) == 1
    assert all(each.snapshot().changed == () for each in found)


def test_no_more_checkouts_at_once_than_the_host_has_places_for(there: Mirror) -> None:  # noqa: F811
    now, most = [0], [0]

    def check_out() -> None:
        with there.checking_out():
            now[0] += 1
            most[0] = max(most[0], now[0])
            time.sleep(0.05)
            now[0] -= 1

    threads = [threading.Thread(target=check_out) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [mirror.CHECKOUTS]


def test_a_base_is_agentds_own_in_a_folder_that_hands_on_its_group(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may give a folder another group")
    os.chown(tmp_path, 0, 65534)
    tmp_path.chmod(0o2755)
    here = scene(there, tmp_path, "overlay")
    assert here.place.base is not None
    assert {path.lstat().st_gid for path in here.place.base.rglob("*")} == {os.getgid()}
    assert here.act("echo more >> a.txt && cat a.txt") == "one\nmore\n"


def test_bases_that_nothing_is_made_of_are_removed(here: Scene, source: Path, tmp_path: Path) -> None:  # noqa: F811
    old = here.place.start_sha
    commit(source, {"a.txt": "newer\n"})
    newer = scene(here.there, tmp_path, "overlay", "newer")
    new = newer.place.start_sha
    folder, runs = here.place.path.parent, tmp_path
    assert names(here.there) == sorted([old, new])
    assert prune_bases(here.there, folder, runs) == [], "a workspace is made of it"
    aside = workspace.set_aside(here.place.path)
    assert prune_bases(here.there, folder, runs) == [], "so is one that was set aside"
    workspace.remove(aside)
    assert prune_bases(here.there, folder, runs, keep=[old]) == []
    (here.there.bases / f".new-{old}-left").mkdir()
    assert prune_bases(here.there, folder, runs) == [old]
    assert names(here.there) == [new], "the base branch's own stays, and nothing half-made does"
    assert newer.snapshot().changed == ()
    workspace.remove(newer.place.path)
    assert prune_bases(here.there, folder, runs) == [] and names(here.there) == [new], "as do the next run's files"


def test_a_run_whose_workspaces_are_elsewhere_now_keeps_its_base(here: Scene, source: Path, tmp_path: Path) -> None:  # noqa: F811
    commit(source, {"a.txt": "newer\n"})
    mirror.fetch(here.there)
    assert prune_bases(here.there, tmp_path / "other place", tmp_path) == []
    (here.place.path / bases.RECORD).unlink()
    assert prune_bases(here.there, tmp_path / "other place", tmp_path) == []
    workspace.remove(here.place.path)
    assert prune_bases(here.there, tmp_path / "other place", tmp_path) == [here.place.start_sha]


def test_a_record_that_cannot_be_read_keeps_every_base(here: Scene, source: Path, tmp_path: Path) -> None:  # noqa: F811
    commit(source, {"a.txt": "newer\n"})
    mirror.fetch(here.there)
    workspace.remove(here.place.path)
    folder = tmp_path / "work" / "strange"
    folder.mkdir(parents=True)
    os.mkfifo(folder / bases.RECORD)
    assert prune_bases(here.there, folder.parent, tmp_path) == []
    (folder / bases.RECORD).unlink()
    (folder / bases.RECORD).write_text("[1")
    assert prune_bases(here.there, folder.parent, tmp_path) == []
    (folder / bases.RECORD).write_text(json.dumps({"base": here.place.start_sha}))
    assert prune_bases(here.there, folder.parent, tmp_path) == []
    (folder / bases.RECORD).unlink()
    assert prune_bases(here.there, folder.parent, tmp_path) == [here.place.start_sha]


def test_none_is_removed_while_one_is_being_chosen(here: Scene, source: Path, tmp_path: Path) -> None:  # noqa: F811
    commit(source, {"a.txt": "newer\n"})
    mirror.fetch(here.there)
    workspace.remove(here.place.path)
    pruned: list[str] = []
    waiting = threading.Thread(target=lambda: pruned.extend(prune_bases(here.there, tmp_path / "work", tmp_path)))
    with using(here.there):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and names(here.there) == [here.place.start_sha]
    waiting.join()
    assert pruned == [here.place.start_sha]


def test_no_file_of_a_base_is_read_again_because_of_its_second(here: Scene, tmp_path: Path) -> None:
    assert here.place.base is not None
    index = (here.place.base / ".git" / "index").stat()
    newest = max(path.stat().st_mtime for path in here.place.base.rglob("*.txt"))
    assert int(newest) < int(index.st_mtime) == int(here.place.index.stat().st_mtime)
    here.snapshot()
    assert list((here.run_dir / "scratch.git" / "objects").glob("??/*")) == []


def test_a_lost_base_is_made_again_for_a_run_that_goes_on(here: Scene) -> None:
    assert here.place.base is not None
    here.act("echo half > half.txt; rm a.txt")
    subprocess.run(["rm", "-rf", str(here.place.base)], check=True)
    again = here.again()
    assert again.snapshot().changed == ("a.txt", "half.txt") and again.read("b.txt") == "two\n"


def test_a_folder_that_cannot_be_written_to_disk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="cannot be written to disk"):
        bases._write_to_disk(tmp_path / "nothing")
