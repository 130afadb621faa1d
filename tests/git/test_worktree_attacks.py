"""What a run in the `worktree` layout can do to the mirror that all tasks share, and what it cannot.

Each row that is closed has a twin: with the whole mirror writable, as `git worktree add` alone would have it, the same
words reach it. The open rows are those that docs/security.md names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agentd.errors import AgentdError
from agentd.git import mirror
from agentd.git.layouts.clone import with_head
from agentd.git.layouts.protocol import Shown
from agentd.git.mirror import Mirror, maintain
from agentd.git.workspace import View, discard, prune_worktrees, set_aside
from tests.git.scene import FILES, Scene, scene
from tests.git.test_git import TASK, commit, source, there  # noqa: F401  # fixtures
from tests.git.test_known_attacks import FIRING, everything

SALVAGE = "refs/agentd/salvage/P0-02/run-2"
PACKED = "refs/agentd/salvage/P0-03/run-3"
OTHERS = "refs/heads/agent/P0-02"


@pytest.fixture
def here(source: Path, there: Mirror, tmp_path: Path) -> Scene:  # noqa: F811
    """A worktree in a mirror that has packs, packed refs, work of other tasks and another worktree."""
    commit(source, FILES)
    first = mirror.fetch(there, TASK)
    there.git("update-ref", PACKED, first)
    there.git("repack", "-adq")
    there.git("pack-refs", "--all")
    for ref in (SALVAGE, OTHERS):
        there.git("update-ref", ref, first)
    scene(there, tmp_path, "worktree", "other")
    return scene(there, tmp_path, "worktree")


def unprotected(here: Scene) -> View:
    """What `git worktree add` alone would give the run."""
    path = here.there.path
    return View(here.place.path, shown=(Shown(path, str(path), writable=True),))


def other_worktrees(path: Path) -> int:
    return len([place for place in (path / "worktrees").iterdir() if (place / "HEAD").is_file()])


def moved(ref: str) -> Callable[[Scene], bool]:
    """Whether a ref is no longer where it was."""
    return lambda here: mirror.resolve(here.there, ref) != here.place.start_sha


def is_there(name: str) -> Callable[[Scene], bool]:
    return lambda here: (here.there.path / name).exists()


OWN = "echo mine > a.txt; git commit -qam mine; "
CLOSED: dict[str, tuple[str, Callable[[Scene], bool]]] = {
    "configuration": (
        "git config x.y z; printf '[x]\\n y = z\\n' >> $M/config",
        lambda here: "y = z" in (here.there.path / "config").read_text(),
    ),
    "configuration, renamed over": (
        "cp $M/config c; echo '# y = z' >> c; mv -f c $M/config",
        lambda here: "y = z" in (here.there.path / "config").read_text(),
    ),
    "hooks": ("mkdir -p $M/hooks; echo x > $M/hooks/reference-transaction", is_there("hooks/reference-transaction")),
    "common folder": ("echo /elsewhere > $M/commondir", is_there("commondir")),
    "alternates": ("echo /elsewhere > $M/objects/info/alternates", is_there("objects/info/alternates")),
    "commit graph": ("echo x > $M/objects/info/commit-graph", is_there("objects/info/commit-graph")),
    "attributes": ("echo '* -diff' > $M/info/attributes", is_there("info/attributes")),
    "shallow": ("git rev-parse HEAD > $M/shallow", is_there("shallow")),
    "promised objects": ("touch $M/objects/pack/x.promisor", is_there("objects/pack/x.promisor")),
    "history": (
        "rm -f $M/objects/pack/*",
        lambda here: not list((here.there.path / "objects" / "pack").glob("*.pack")),
    ),
    "main HEAD": ("echo x > $M/HEAD", lambda here: (here.there.path / "HEAD").read_text() == "x\n"),
    "salvage, moved": (f"{OWN} git update-ref {SALVAGE} HEAD", moved(SALVAGE)),
    "salvage, deleted": (f"rm -f $M/{SALVAGE}; git update-ref -d {SALVAGE}", moved(SALVAGE)),
    "packed refs": (f"git update-ref -d {PACKED}; : > $M/packed-refs", moved(PACKED)),
    "the base": (f"{OWN} git update-ref refs/remotes/origin/main HEAD", moved("refs/remotes/origin/main")),
    "another worktree": (
        "for w in $M/worktrees/*; do [ $w = $(git rev-parse --absolute-git-dir) ] || rm -rf $w; done",
        lambda here: other_worktrees(here.there.path) == 1,
    ),
    "reflogs": (
        "mkdir -p $M/logs/refs; ln -s /elsewhere $M/logs/refs/agentd",
        lambda here: here.there.path.joinpath("logs/refs/agentd").is_symlink(),
    ),
}
OPEN: dict[str, tuple[str, Callable[[Scene], bool]]] = {
    "loose objects, deleted": (
        "rm -rf $M/objects/??",
        lambda here: not list((here.there.path / "objects").glob("??")),
    ),
    "another task's branch": (f"{OWN} git update-ref {OTHERS} HEAD", moved(OTHERS)),
    "links among the objects": (
        "rm -rf $M/objects/aa; ln -s /elsewhere $M/objects/aa",
        lambda here: (here.there.path / "objects" / "aa").is_symlink(),
    ),
    "what is no ref among the branches": ("mkfifo $M/refs/heads/pipe", is_there("refs/heads/pipe")),
}


def act(here: Scene, script: str, view: View | None = None) -> None:
    here.act(f"M={here.there.path}; {script}", view=view)


@pytest.mark.parametrize("attack", CLOSED)
def test_the_mirror_is_out_of_a_runs_reach(here: Scene, attack: str) -> None:
    script, reached = CLOSED[attack]
    assert not reached(here)
    act(here, script)
    assert not reached(here)
    act(here, script, unprotected(here))
    assert reached(here), "the attack itself does not work here, so the test proves nothing"


@pytest.mark.parametrize("attack", OPEN)
def test_what_a_trusted_profile_is_given(here: Scene, attack: str) -> None:
    script, reached = OPEN[attack]
    assert not reached(here)
    act(here, script)
    assert reached(here), "closed by now: take it out of docs/security.md and put it among the closed ones"


FIRES_UNPROTECTED = {"clean filter"}
"""Of the known attacks, those that reach agentd through the mirror's configuration where that can be written."""


@pytest.mark.parametrize("attack", FIRING)
def test_known_attacks_reach_agentd_through_no_worktree(here: Scene, attack: str) -> None:
    trap, fired = here.place.path / "trap", here.place.path / "fired"
    # The path is the host's: inside there is no such file, so it is agentd that has set it off.
    act(here, f"printf '#!/bin/sh\\ntouch {fired}\\nexit 1\\n' > trap; chmod 755 trap; echo changed > a.txt")
    bend = FIRING[attack][0].format(trap=trap).replace(".git/", "$M/")
    act(here, bend)
    with here.reader() as reader:
        everything(here.there, here.place, reader)
    assert not fired.exists()
    act(here, bend, unprotected(here))
    with here.reader() as reader, suppress(AgentdError):
        everything(here.there, here.place, reader)
    assert fired.exists() == (attack in FIRES_UNPROTECTED)


def test_the_worktree_is_locked_and_no_prune_takes_it(here: Scene) -> None:
    admin = here.place.admin
    assert admin is not None and "run" in (admin / "locked").read_text()
    assert str(here.place.path / ".git") == (admin / "gitdir").read_text().strip()
    aside = set_aside(here.place.path)
    here.there.git("worktree", "prune", "--expire=now")
    assert admin.is_dir()
    (admin / "locked").unlink()
    here.there.git("worktree", "prune", "--expire=now")
    assert not admin.exists(), "without its lock git takes it away, so the test proves something"
    assert aside.is_dir()


def test_a_removed_workspace_leaves_nothing_in_the_mirror(here: Scene, tmp_path: Path) -> None:
    discard(here.there, here.place)
    assert here.place.admin is not None and not here.place.admin.exists()
    [other] = (here.there.path / "worktrees").iterdir()
    assert prune_worktrees(here.there, tmp_path) == [], "a run has it"
    (tmp_path / "other" / "workspace.json").rename(tmp_path / "kept")
    (tmp_path / "other" / "workspace.json").write_text("[")
    assert prune_worktrees(here.there, tmp_path) == [], "a record that cannot be read keeps it"
    (tmp_path / "other" / "workspace.json").unlink()
    assert prune_worktrees(here.there, tmp_path) == [other.name] and not other.exists()


def test_what_a_killed_run_committed_on_the_branch_is_kept(here: Scene, tmp_path: Path) -> None:
    own = here.act("echo mine > a.txt; git commit -qam mine; git rev-parse HEAD").strip()
    here.again(run_dir=tmp_path / "second")
    assert mirror.resolve(here.there, "refs/agentd/runs/second/before") == own


def test_refs_are_packed_only_while_nobody_sees_a_copy_of_them(here: Scene, tmp_path: Path) -> None:
    branch = "git rev-parse --verify --quiet HEAD && git log --format=%s -1"
    before = here.act(branch)
    maintain(here.there)
    assert here.act(branch) == before and before

    here.there.git("pack-refs", "--all")
    assert here.act(branch) == "", "packed branches are lost to a run, so the test proves something"
    for name in ("run", "other"):
        (tmp_path / name / "workspace.json").unlink()
    prune_worktrees(here.there, tmp_path)
    here.there.git("update-ref", "refs/heads/loose", here.place.start_sha)
    maintain(here.there)
    assert "refs/heads/loose" in (here.there.path / "packed-refs").read_text()


def test_a_branch_that_a_run_made_a_name_for_another_ref_leads_nobody_there(here: Scene) -> None:
    act(here, f"git symbolic-ref refs/heads/main {SALVAGE}")
    newer = here.there.git("commit-tree", mirror.EMPTY_TREE, stdin=b"x", environment=here.there.author.environment())
    here.there.git("update-ref", "refs/remotes/origin/main", newer)
    with_head(here.there)
    assert mirror.resolve(here.there, SALVAGE) == here.place.start_sha
    assert mirror.resolve(here.there, "refs/heads/main") == newer
