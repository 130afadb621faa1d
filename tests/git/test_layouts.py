"""What a run does in its workspace, in each layout: collected as it is, proven, cleaned, taken up again, removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import collect, mirror, workspace
from agentd.git.mirror import Mirror
from agentd.git.naming import branch_of
from agentd.git.runner import git
from tests.git.scene import FILES, LAYOUTS, PLAIN, Scene, scene
from tests.git.test_git import AUTHOR, TASK, commit, source, there  # noqa: F401  # fixtures


@pytest.fixture(params=LAYOUTS)
def here(request: pytest.FixtureRequest, source: Path, there: Mirror, tmp_path: Path) -> Scene:  # noqa: F811
    commit(source, FILES)
    return scene(there, tmp_path, request.param)


def test_an_untouched_workspace_is_its_start(here: Scene) -> None:
    assert here.snapshot() == collect.Snapshot(mirror.tree_of(here.there, here.place.start_sha), (), ())
    said = here.act(
        "git status --porcelain; git branch --show-current; git rev-parse HEAD main; git remote; id -u; ls -a"
    )
    assert said.split("\n")[0] == branch_of(TASK), said
    assert said.split("\n")[1:3] == [here.place.start_sha] * 2


def test_everything_a_run_does_to_files_is_collected(here: Scene) -> None:
    said = here.act(
        """set -e
        echo more >> a.txt; rm b.txt; mv folder/c.txt folder/e.txt; chmod 755 tool.sh; ln -s /etc/passwd link
        mv folder/deep moved; echo new > new.txt; echo x > ignored; mkdir -p x/y; echo y > x/y/z
        echo w > .wh.a.txt; echo o > .wh..wh..opq; rm -r x/y; mkdir x/y; echo again > x/y/again
        mkfifo pipe; %python% -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
        ln a.txt hard; mkdir empty; echo done"""
    )
    assert said == "done\n"
    found = here.snapshot()
    assert here.content(found.tree) == {
        "a.txt": "100644 one\nmore",
        "hard": "100644 one\nmore",
        "folder/e.txt": "100644 three",
        "moved/d.txt": "100644 four",
        "tool.sh": "100755 #!/bin/sh",
        "link": "120000 /etc/passwd",
        "new.txt": "100644 new",
        "x/y/again": "100644 again",
        ".wh.a.txt": "100644 w",
        ".wh..wh..opq": "100644 o",
        ".gitignore": "100644 ignored",
    }
    assert here.tracked() == found.tree
    assert "missing" not in here.there.git("fsck", "--strict", "--connectivity-only", "--no-dangling", found.tree)


def test_a_tree_comes_back_whole_over_many_turns(here: Scene) -> None:
    for turn in range(3):
        here.act(f"echo {turn} >> a.txt; mkdir -p d{turn}; echo {turn} > d{turn}/f")
        tree = here.snapshot().tree
        sha = collect.commit(here.there, tree, [here.place.start_sha], f"turn {turn}", "run")
        assert here.content(sha)["a.txt"].endswith(str(turn))
    assert here.snapshot().tree == tree


def test_an_agents_own_commits_come_back(here: Scene) -> None:
    said = here.act("echo mine > a.txt && git commit -qam mine && git rev-parse HEAD && git switch -qc other")
    with here.reader() as reader:
        collect.keep_commits(here.there, here.place, "run", reader)
    own = mirror.resolve(here.there, f"refs/agentd/runs/run/heads/{branch_of(TASK)}")
    assert own == said.strip() == mirror.resolve(here.there, "refs/agentd/runs/run/heads/other")
    assert here.there.git("show", f"{own}:a.txt") == "mine"


CHANGES = {
    "content": "echo otherwise > a.txt",
    "the same size in the same second": "echo two > a.txt; echo one > b.txt",
    "the same size with the old time": "cp -p a.txt /tmp/t; echo ONE > a.txt; touch -r /tmp/t a.txt",
    "the same size and time by a rename": "cp -p a.txt t; echo ONE > t; touch -r a.txt t; mv t a.txt",
    "mode": "chmod 755 a.txt",
    "gone": "rm a.txt",
    "a link in its place": "rm a.txt; ln -s b.txt a.txt",
    "a folder in its place": "rm a.txt; mkdir a.txt; echo x > a.txt/x",
    "memory": '%python% -c \'import mmap; f = open("a.txt", "r+b"); m = mmap.mmap(f.fileno(), 0); m[0:3] = b"ONE"\'',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("when", ["at once", "after a snapshot", "after two"])
def test_what_changes_after_a_snapshot_is_proven(here: Scene, change: str, when: str) -> None:
    if when != "at once":
        here.act("echo one > a.txt; echo new > new.txt")
    tree = here.snapshot().tree
    if when == "after two":
        assert here.tracked() == tree
        tree = here.snapshot().tree
    assert here.tracked() == tree
    here.act(change)
    assert here.tracked() != tree
    assert here.snapshot().tree != tree


def test_what_verify_leaves_is_cleaned_and_what_is_ignored_stays(here: Scene) -> None:
    here.act("echo work > work.txt; echo x > ignored")
    tree = here.snapshot().tree
    here.act("mkdir -p reports/x; echo r > reports/x/r; echo r > report; chmod 500 reports/x; mkfifo pipe")
    assert here.tracked() == tree
    collect.clean(here.there, here.place, PLAIN)
    assert sorted(here.act("ls").split()) == sorted(
        ["a.txt", "b.txt", "folder", "ignored", "pipe", "tool.sh", "work.txt"]
    )
    assert here.snapshot().tree == tree


def test_a_resumed_run_takes_up_what_it_has_done(here: Scene) -> None:
    here.act("echo half > half.txt; rm b.txt")
    again = here.again()
    assert again.place == here.place and again.read("half.txt") == "half\n"
    assert "b.txt" not in again.act("ls") and again.snapshot().changed == ("b.txt", "half.txt")


def test_a_killed_run_is_taken_up_too(here: Scene) -> None:
    here.act("echo half > half.txt; mv folder moved; kill -9 -1")
    again = here.again()
    assert "moved/deep/d.txt" in again.snapshot().changed


def test_work_of_another_host_is_taken_up(here: Scene, tmp_path: Path) -> None:
    other = scene(here.there, tmp_path, here.layout, "other")
    other.act("echo theirs > a.txt; rm -r folder; echo new > new.txt; chmod 755 tool.sh; ln -s a.txt link")
    theirs = collect.commit(here.there, other.snapshot().tree, [here.place.start_sha], "theirs", "other")
    here.act("echo older > a.txt; echo older > older.txt")
    again = here.again(kept=theirs)
    assert again.snapshot().tree == mirror.tree_of(here.there, theirs)
    assert again.act("cat a.txt; ls; git status --porcelain; git rev-parse HEAD") == (
        f"theirs\na.txt\nb.txt\nlink\nnew.txt\ntool.sh\n{theirs}\n"
    )
    again.act("echo both >> a.txt")
    assert again.content(again.snapshot().tree)["a.txt"] == "100644 theirs\nboth"
    asides = [path for path in here.place.path.parent.iterdir() if path.name.startswith(".aside-")]
    assert len(asides) == 1 and list(asides[0].rglob("older.txt"))


def test_a_branch_that_was_worked_on_before_is_where_a_run_begins(
    here: Scene,
    source: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    branch = commit(source, {"a.txt": "of the branch\n", "own.txt": "own\n"}, branch=branch_of(TASK))
    mirror.fetch(here.there, TASK)
    begun = here.again(run_dir=tmp_path / "second")
    assert begun.place.start_sha == here.place.start_sha  # `again` begins where the first one did
    place = (
        workspace.prepare(
            here.there,
            tmp_path / "w" / TASK,
            tmp_path / "third",
            branch_of(TASK),
            branch,
            "",
            here.layout,
            PLAIN.inside,
        )
        if (tmp_path / "third").mkdir() is None
        else here.place
    )
    third = Scene(here.there, place, tmp_path / "third", here.layout)
    assert (
        third.act("cat a.txt own.txt; git status --porcelain; git rev-parse HEAD") == f"of the branch\nown\n{branch}\n"
    )
    assert third.snapshot().changed == ()
    assert place.base == here.place.base, "one base for both, since the branch begins there"


def test_another_runs_workspace_is_set_aside_and_can_still_be_removed(here: Scene, tmp_path: Path) -> None:
    here.act("echo half > half.txt; mkdir -p locked/in; chmod 0 locked; rm -r folder")
    other = here.again(run_dir=tmp_path / "second")
    assert "half.txt" not in other.act("ls") and other.snapshot().changed == ()
    [aside] = [path for path in here.place.path.parent.iterdir() if path.name.startswith(".aside-")]
    assert [path.read_text() for path in aside.rglob("half.txt")] == ["half\n"]
    workspace.remove(aside)
    workspace.remove(other.place.path)
    assert list(here.place.path.parent.iterdir()) == []


def test_salvage_keeps_the_content(here: Scene) -> None:
    here.act("echo work > a.txt; git commit -qam own; echo more > more.txt")
    with here.reader() as reader:
        saved = collect.save(here.there, here.place, TASK, "run", "why", reader)
    assert saved is not None and here.content(saved)["more.txt"] == "100644 more"
    assert mirror.resolve(here.there, "refs/agentd/runs/run/head") is not None


def test_what_the_agent_has_stashed_is_kept(here: Scene) -> None:
    here.act("echo work > a.txt; echo new > new.txt; git stash --quiet --include-untracked")
    with here.reader() as reader:
        saved = collect.save(here.there, here.place, TASK, "run", "why", reader)
    assert saved is not None and here.content(saved)["a.txt"] == "100644 work"
    assert here.content(f"{saved}^3") == {"new.txt": "100644 new"}


def test_commits_are_kept_when_the_agent_ends_on_a_branch_without_any(here: Scene) -> None:
    here.act("git switch -q -c other; echo work > a.txt; git commit -qam own; git switch -q --orphan empty")
    with here.reader() as reader:
        collect.keep_commits(here.there, here.place, "run", reader)
    assert here.content("refs/agentd/runs/run/heads/other")["a.txt"] == "100644 work"


def add_submodule(source: Path) -> None:  # noqa: F811
    """A link to a commit at `sub`, on the remote's main."""
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'HEAD', cwd=source)},sub", cwd=source)
    git("commit", "--quiet", "--message", "link", cwd=source, environment=AUTHOR.environment())
    git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=source)


def test_a_submodule_stays_empty_and_a_repository_left_inside_is_named(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
) -> None:
    add_submodule(source)
    for layout in LAYOUTS:
        here = scene(there, tmp_path, layout, layout)
        assert here.act("ls -A sub") == ""
        here.act("cd sub && git init -q . && echo x > f && git add f && git commit -qm x")
        here.act("git init -q inner; cd inner; echo x > f; git add f; git commit -qm x")
        found = here.snapshot()
        assert (found.nested, found.changed) == (("inner",), ())


@pytest.mark.parametrize(
    ("script", "changed", "left"),
    [
        ("echo x > sub/f", {"sub", "sub/f"}, {"sub/f"}),
        ("git rm -q --cached sub; echo x > sub/f; git add .; git commit -qm own", {"sub", "sub/f"}, {"sub/f"}),
        ("rmdir sub; ln -s a.txt sub", {"sub"}, {"sub"}),
        ("git rm -q sub", {"sub"}, set()),
        ("git init -q sub", set(), {"sub"}),
        ("echo x > other", {"other"}, {"sub", "other"}),
    ],
    ids=["files", "files, committed", "a link", "nothing", "a repository without commits", "an empty folder"],
)
def test_what_stands_in_the_place_of_a_submodule_is_collected(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    script: str,
    changed: set[str],
    left: set[str],
) -> None:
    add_submodule(source)
    for layout in LAYOUTS:
        here = scene(there, tmp_path, layout, layout)
        here.act(script)
        for _ in range(2):
            found = here.snapshot()
            names = set(there.git("ls-tree", "-r", "--name-only", found.tree).splitlines())
            assert (set(found.changed), names - {".gitignore", "a.txt"}, found.is_whole) == (changed, left, True)
        assert here.tracked() == found.tree


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_git_does_not_take_is_named_and_all_else_is_kept(
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    layout: str,
) -> None:
    here = scene(there, tmp_path, layout)
    here.act("git init -q inner; echo x > inner/f; echo mine > mine.txt; rm a.txt")
    found = here.snapshot()
    assert (found.changed, found.nested, found.refused) == (("a.txt", "mine.txt"), ("inner",), ())
    here.act("mkdir d; echo x > d/closed; chmod 000 d/closed")
    found = here.snapshot()
    # To root on the host nothing is closed.
    closed = ("d/closed",) if layout == "overlay" or os.getuid() else ()
    assert (found.nested, found.refused, found.is_whole) == (("inner",), closed, False)
    assert set(found.changed) == {"a.txt", "mine.txt", "d/closed"} - set(closed)


@pytest.mark.parametrize("mode", ["000", "200", "444"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_work_in_a_closed_folder_is_collected(
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    layout: workspace.LayoutName,
    mode: str,
) -> None:
    here = scene(there, tmp_path, layout)
    here.act(f"mkdir -p shut/within; echo precious > shut/within/f; chmod {mode} shut/within shut")
    found = here.snapshot()
    assert (found.changed, found.is_whole) == (("shut/within/f",), True)
    assert here.content(found.tree)["shut/within/f"] == "100644 precious"
    here.act(f"chmod 755 shut shut/within; echo otherwise > shut/within/f; chmod {mode} shut")
    assert here.tracked() != found.tree


def test_a_folder_that_stays_unreadable_is_named(there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    here = scene(there, tmp_path, "overlay")
    deeper = "import os\nfor i in range(20): os.mkdir('n' * 250); os.chdir('n' * 250)\nopen('f', 'w').write('precious')"
    here.act(f'mkdir deep; cd deep; %python% -c "{deeper}"')
    found = here.snapshot()
    assert not found.is_whole
    assert [Path(one).parts[0] for one in found.refused] == ["deep"]


def test_an_overlay_takes_no_copy_of_the_base(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    commit(source, {f"many/{number}.txt": "x" * 5000 for number in range(200)})
    one, two = (scene(there, tmp_path, "overlay", name) for name in ("one", "two"))
    assert one.place.base == two.place.base
    assert len([path for path in one.place.path.rglob("*") if path.is_file()]) < 8
    one.act("echo mine > many/1.txt; rm many/2.txt")
    assert two.snapshot().changed == () and one.snapshot().changed == ("many/1.txt", "many/2.txt")


def test_an_overlay_is_not_read_on_the_host(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    here = scene(there, tmp_path, "overlay")
    with pytest.raises(GitError, match="only from within a sandbox"):
        collect.snapshot(there, here.place)
