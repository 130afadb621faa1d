"""What a sync promises beside the corpus: against git's own rebase, against drivers, and about its record."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError, GitError
from agentd.git.commits import merge_commit, read_commits, recommit
from agentd.git.merging import merge, merge_tree
from agentd.git.mirror import EMPTY_TREE, Mirror
from agentd.git.runner import git
from agentd.git.sync import record_base, recorded_base, sync
from agentd.git.trees import Entry, entries, with_entries
from tests.git.corpus.building import AGENTD, PERSON, Built, Content, Scenario, Step, build, numbered
from tests.git.corpus.lockfiles import SCENARIOS as LOCKFILES

CONFLICTING = Scenario(
    "conflict",
    "both change a line",
    "conflict",
    {"a.txt": numbered()},
    [Step({"a.txt": numbered(l3="up")}, by=PERSON)],
    [Step({"a.txt": numbered(l3="task")})],
)
PLAIN = Scenario("plain", "", "rebase", upstream=[Step({"u": "u\n"}, by=PERSON)], task=[Step({"t": "t\n"})])


def lines_of(count: int, chance: random.Random) -> list[str]:
    return [f"{chance.randrange(10**6)}\n" for _ in range(count)]


def random_steps(files: dict[str, list[str]], chance: random.Random, count: int) -> list[Step]:
    """Commits that change, add and remove lines and files; `files` is where they start."""
    files = {name: list(lines) for name, lines in files.items()}
    steps = []
    for _ in range(count):
        changes: dict[str, Content] = {}
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice([*files, f"new{chance.randrange(6)}"])
            lines = files.setdefault(name, [])
            if chance.random() < 0.1:
                del files[name]
                changes[name] = None
                continue
            at = chance.randrange(len(lines) + 1)
            lines[at : at + chance.randrange(2)] = lines_of(chance.randrange(3), chance)
            changes[name] = "".join(lines)
        steps.append(Step(changes, message=f"{chance.random()}\n".encode()))
    return steps


@pytest.mark.parametrize("seed", range(16))
def test_a_clean_rebase_gives_the_tree_of_gits_own(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    start = {f"f{number}": lines_of(25, chance) for number in range(4)}
    upstream, task = (random_steps(start, chance, chance.randrange(1, 5)) for _ in range(2))
    scenario = Scenario("random", "", "rebase", {k: "".join(v) for k, v in start.items()}, upstream, task)
    built = build(scenario, tmp_path)
    synced = sync(built.mirror, built.branch, built.base)
    theirs = rebase(built, tmp_path / "clone")
    _, net = merge_tree(built.mirror, built.branch, built.base)
    if theirs is None:
        assert synced.status == ("conflict" if net else "clean")
        assert synced.reason.startswith("merged the base") or net
    else:
        assert synced.status == "clean"
        assert read_commits(built.mirror, [synced.sha])[0].tree == theirs


def rebase(built: Built, clone: Path) -> str | None:
    """The tree that `git rebase` makes in a working tree, or None where it stops."""
    git("clone", "--quiet", "--no-checkout", str(built.mirror.path), str(clone), cwd=clone.parent)
    git("checkout", "--quiet", "--detach", built.branch, cwd=clone)
    try:
        git("rebase", "--quiet", built.base, cwd=clone, environment=AGENTD.environment())
    except GitError:
        return None
    return git("rev-parse", "HEAD^{tree}", cwd=clone)


def test_a_base_or_branch_that_is_not_in_the_mirror_is_named(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    for branch, base in ((built.branch, "1" * 40), ("1" * 40, built.base)):
        with pytest.raises(GitError, match="1111111"):
            sync(built.mirror, branch, base)


def test_without_a_branch_work_begins_at_the_base(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    assert sync(built.mirror, None, built.base).sha == built.base


def test_the_base_that_was_synced_onto_is_kept_until_the_next_one(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    assert recorded_base(built.mirror, "P0-01") == ""
    for sha in (built.shas["0"], built.base):
        record_base(built.mirror, "P0-01", sha)
        assert recorded_base(built.mirror, "P0-01") == sha
    assert recorded_base(built.mirror, "P0-02") == ""
    with pytest.raises(ConfigurationError):
        record_base(built.mirror, "../heads/main", built.base)


def test_a_record_of_a_commit_that_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    expected = sync(built.mirror, built.branch, built.base)
    assert sync(built.mirror, built.branch, built.base, recorded_base="1" * 40) == expected


def test_a_conflict_comes_with_a_tree_to_resolve_it_in(tmp_path: Path) -> None:
    built = build(CONFLICTING, tmp_path)
    synced = sync(built.mirror, built.branch, built.base)
    text = built.mirror.git("cat-file", "blob", f"{synced.marked}:a.txt")
    assert f"<<<<<<< {built.branch}\ntask\n=======\nup\n>>>>>>> {built.base}\n" in text


def test_lockfiles_are_files_like_others_where_they_are_not_resolved(tmp_path: Path) -> None:
    built = build(LOCKFILES[0], tmp_path)
    synced = sync(built.mirror, built.branch, built.base)
    assert (synced.status, synced.files, synced.lockfiles) == ("conflict", ("pnpm-lock.yaml",), ())


def test_no_driver_of_the_users_configuration_runs_though_the_mirror_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(CONFLICTING, tmp_path)
    fired, driver = tmp_path / "fired", ("merge.evil.driver", f"touch {tmp_path / 'fired'}; exit 0")
    (built.mirror.path / "info").mkdir(exist_ok=True)
    (built.mirror.path / "info" / "attributes").write_text("* merge=evil\n")
    user = tmp_path / "user.gitconfig"
    git("config", "--file", str(user), *driver, cwd=tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(user))
    assert sync(built.mirror, built.branch, built.base).status == "conflict"
    assert not fired.exists()
    # The trap works: the mirror's own configuration, which nobody but the supervisor writes, would have it run.
    built.mirror.git("config", *driver)
    sync(built.mirror, built.branch, built.base)
    assert fired.exists()


def test_a_commit_that_is_made_again_loses_its_signature_only(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    raw = built.mirror.git("cat-file", "commit", built.branch).encode()
    head, _, message = raw.partition(b"\n\n")
    head += b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n aGVsbG8=\n -----END PGP SIGNATURE-----"
    signed = built.mirror.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=head + b"\n\n" + message + b"\n")
    (commit,) = read_commits(built.mirror, [signed])
    assert recommit(built.mirror, commit, commit.tree, commit.parents[0]) == built.branch
    assert sync(built.mirror, signed, built.base).reason == "rebased 1 commit"


def test_a_merge_is_dated_like_the_later_of_its_parents(tmp_path: Path) -> None:
    built = build(PLAIN, tmp_path)
    branch, base = read_commits(built.mirror, [built.branch, built.base])
    shas = {merge_commit(built.mirror, EMPTY_TREE, *pair, "m") for pair in ((branch, base), (branch, base))}
    (merged,) = read_commits(built.mirror, list(shas))
    assert merged.time == max(branch.time, base.time)


@pytest.fixture
def stocked(tmp_path: Path) -> tuple[Mirror, str]:
    """A mirror and a tree in it."""
    scenario = Scenario("tree", "", "base", {"a/b/c": "1\n", "a/x": "2\n", "d": "3\n", "w*": "4\n", "wx": "5\n"})
    built = build(scenario, tmp_path)
    return built.mirror, read_commits(built.mirror, [built.base])[0].tree


def test_a_tree_is_edited_at_one_path(stocked: tuple[Mirror, str]) -> None:
    mirror, tree = stocked
    new = Entry("100755", mirror.git("hash-object", "-w", "--stdin", stdin=b"new\n"))
    edited = with_entries(mirror, tree, {"a/b/c": None, "n/e/w": new, "d": new})
    names = mirror.git("ls-tree", "-r", "--name-only", edited).splitlines()
    assert names == ["a/x", "d", "n/e/w", "w*", "wx"]
    assert entries(mirror, edited, {"n/e/w", "d", "gone"}) == {"n/e/w": new, "d": new}
    assert with_entries(mirror, edited, {}) == edited


def test_paths_are_no_patterns(stocked: tuple[Mirror, str]) -> None:
    mirror, tree = stocked
    assert set(entries(mirror, tree, {"w*", "a/*"})) == {"w*"}


def test_unrelated_commits_are_not_merged(tmp_path: Path) -> None:
    scenario = Scenario("unrelated", "", "conflict", upstream=[Step({"u": "u\n"}, on=("none",), by=PERSON)])
    built = build(scenario, tmp_path)
    with pytest.raises(GitError, match="unrelated"):
        merge(built.mirror, built.branch, built.base)
