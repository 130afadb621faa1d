"""What git is told to look at in an overlay: everything that a run has changed, and the base's own files never."""

from __future__ import annotations

import os
import random
import shlex
from pathlib import Path

import pytest

from agentd.git import collect, mirror
from agentd.git.layouts.written import MAX_ENTRIES, answer, written
from agentd.git.mirror import Mirror
from tests.git.scene import FILES, PLAIN, Scene, scene
from tests.git.test_git import commit, source, there  # noqa: F401  # fixtures

ODD = {"odd/with space.txt": "x\n", "odd/*": "y\n", "odd/line\nend": "z\n", "odd/:(top)": "w\n", "odd/ä/é": "v\n"}


@pytest.fixture
def both(source: Path, there: Mirror, tmp_path: Path) -> tuple[Scene, Scene]:  # noqa: F811
    """The same commit in an overlay, and in a clone, where git looks at every file."""
    commit(source, {**FILES, **ODD})
    return scene(there, tmp_path, "overlay", "overlay"), scene(there, tmp_path, "clone", "clone")


TURNS = {
    "a new file that goes again": ("echo x > new.txt", "rm new.txt"),
    "a new folder that goes again": ("mkdir -p new/deep; echo x > new/deep/f", "rm -r new"),
    "a new file in a folder of the base that goes again": ("echo x > folder/new", "rm folder/new"),
    "back to the base": ("echo x > a.txt; rm b.txt; mv folder other", "git checkout -q .; rm -r other"),
    "back to the base by hand": ("rm -r folder", "mkdir -p folder/deep; echo three > folder/c.txt"),
    "a folder anew": ("rm -r folder; mkdir folder", "echo new > folder/c.txt"),
    "a folder anew within one": ("rm -r folder/deep; mkdir folder/deep", "echo five > folder/deep/e.txt"),
    "a file for a folder": ("rm -r folder; echo x > folder", "echo y > folder"),
    "a folder for a file": ("rm a.txt; mkdir a.txt; echo x > a.txt/in", "rm -r a.txt; echo one > a.txt"),
    "a link to its like for a folder": ("cp -r folder same; rm -r folder; ln -s same folder", "echo x > folder/c.txt"),
    "odd names": ("rm 'odd/*'; echo x > 'odd/:(top)'; mv odd/ä odd/ö", "echo y > 'odd/line\nend'; rm -r odd/ö"),
    "names that are no text": (r"echo x > folder/$(printf '\377')", r"rm folder/$(printf '\377')"),
    "a repository left in a folder": ("cd folder; git init -q; git add .; git commit -qm x", "echo x > folder/c.txt"),
}


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS.keys())
def test_a_tree_is_collected_as_a_clones_is(both: tuple[Scene, Scene], turns: tuple[str, ...]) -> None:
    for turn in turns:
        trees = []
        for here in both:
            here.act(turn)
            trees += [here.snapshot().tree, here.tracked()]
        assert len(set(trees)) == 1, trees


def test_a_look_that_was_killed_half_way_hides_no_later_change(both: tuple[Scene, Scene]) -> None:
    here = both[0]
    here.act("echo x > new.txt; echo x > folder/new.txt; echo x > a.txt")
    collect.Look(here.there, here.place, PLAIN).git("add", "--all", ".")
    here.act("rm new.txt folder/new.txt; git checkout -q a.txt")
    assert here.snapshot().changed == ()


def some_script(rolls: random.Random) -> str:
    """A few changes as an agent makes them, in an order of their own; some fail."""
    files = [shlex.quote(name) for name in (*FILES, *ODD, "new.txt", "folder/new.txt", "made/deep/file")]
    folders = ["folder", "folder/deep", "odd", "odd/ä", "made", "made/deep"]
    kinds = {
        "echo {n} >> {file}": 4,
        "mkdir -p made/deep; echo {n} > {file}": 3,
        "rm {file}": 3,
        "rm -r {folder}": 2,
        "rm -r {folder}; mkdir {folder}; echo {n} > {folder}/again": 2,
        "rm -r {folder}; ln -s {other} {folder}": 1,
        "rm -r {folder}; echo {n} > {folder}": 1,
        "rm -rf {file}; mkdir {file}; echo {n} > {file}/in": 1,
        "mv {file} moved{n}; mv moved{n} {folder}": 2,
        "mv {folder} gone; mv gone {other}": 1,
        "cp -a {folder} copied": 1,
        "chmod 755 {file}": 1,
        "git checkout -q -- {folder}": 1,
        "git checkout -q -- {file}": 1,
    }
    lines = [
        line.format(n=rolls.randrange(3), file=rolls.choice(files), folder=rolls.choice(folders), other=folders[n % 6])
        for n, line in enumerate(rolls.choices([*kinds], [*kinds.values()], k=6))
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_run_does_is_collected_as_from_a_clone(both: tuple[Scene, Scene], seed: int) -> None:
    rolls = random.Random(seed)
    for _ in range(5):
        script = some_script(rolls)
        found = []
        for here in both:
            here.act(script)
            found.append((here.tracked(), here.snapshot()))
        assert found[0] == found[1], script


def test_the_bases_own_files_are_not_looked_at(both: tuple[Scene, Scene]) -> None:
    here = both[0]
    assert here.place.base is not None
    (here.place.base / "a.txt").write_text("somebody else's\n")
    here.act("echo mine > b.txt; echo new > folder/new.txt")
    for _ in range(2):
        found = here.snapshot()
        assert found.changed == ("b.txt", "folder/new.txt") and here.tracked() == found.tree


def test_of_very_many_files_git_takes_a_look_itself(both: tuple[Scene, Scene]) -> None:
    here = both[0]
    here.act(f"for n in $(seq {MAX_ENTRIES}); do : > ignored.$n; done; mkdir ignored; echo '*' >> .gitignore")
    assert here.place.base is not None and written(here.place.files, here.place.base) is None
    (here.place.base / "a.txt").write_text("seen\n")
    assert "a.txt" in here.snapshot().changed


def test_files_of_a_new_folder_are_told_by_its_name(both: tuple[Scene, Scene]) -> None:
    here = both[0]
    here.act("mkdir -p node_modules/x; for n in $(seq 300); do : > node_modules/x/$n; done; rm -r folder; mkdir folder")
    here.act("rm a.txt; echo x > odd/new; mkdir odd/deep; ln -s / odd/link; git add odd; git commit -qm odd")
    assert here.place.base is not None
    told = written(here.place.files, here.place.base)
    assert told is not None
    assert sorted(told) == ["a.txt", "folder", "node_modules", "odd/deep", "odd/link", "odd/new"]
    assert answer(["a"]) == b"agentd\0a\0a/\0" and answer(None) == b"agentd\0/\0"


def test_what_cannot_be_read_is_looked_at_whole(tmp_path: Path) -> None:
    upper, base = tmp_path / "upper", tmp_path / "base"
    (base / "f").mkdir(parents=True)
    assert written(upper, base) is None
    (upper / "f").mkdir(parents=True)
    assert written(upper, base) == []
    for mark in ("opaque", "redirect"):
        os.setxattr(upper / "f", f"user.overlay.{mark}", b"y")
        assert written(upper, base) == ["f"], mark
        os.removexattr(upper / "f", f"user.overlay.{mark}")
    os.setxattr(upper, "user.overlay.opaque", b"y")
    assert written(upper, base) is None


def test_an_update_of_an_overlay_is_seen_like_a_runs_own_changes(both: tuple[Scene, Scene], source: Path) -> None:  # noqa: F811
    here = both[0]
    here.act("echo mine > b.txt")
    new = commit(source, {"a.txt": "newer\n", "folder/c.txt": "newer\n", "fresh/f": "fresh\n"})
    mirror.fetch(here.there)
    look = collect.Look(here.there, here.place, PLAIN)
    here.snapshot()
    look.git("read-tree", "--reset", "-u", new)
    assert here.tracked() == mirror.tree_of(here.there, new)
    assert here.act("cat a.txt b.txt fresh/f") == "newer\ntwo\nfresh\n"
    here.act("rm -r fresh; echo three > folder/c.txt; echo one > a.txt")
    assert here.content(here.tracked()) == here.content(mirror.tree_of(here.there, here.place.start_sha))
