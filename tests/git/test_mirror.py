"""The mirror itself: it is whole, and looking after it takes nothing away."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import collect, mirror
from agentd.git.lockfiles.scratch import content_of
from agentd.git.mirror import Mirror
from agentd.git.runner import git
from tests.git.scene import FILES, LAYOUTS, scene
from tests.git.test_git import AUTHOR, commit, source, there  # noqa: F401  # fixtures


def objects(there: Mirror) -> set[str]:  # noqa: F811
    return set(there.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").splitlines())


def packs(there: Mirror) -> int:  # noqa: F811
    return len(list((there.path / "objects" / "pack").glob("*.pack")))


def remote_like(source: Path, folder: Path, *options: str) -> Mirror:  # noqa: F811
    """A mirror of a clone of the remote that was made with these options."""
    remote = folder / "lacking.git"
    url = f"file://{source.parent / 'remote.git'}"
    git("config", "uploadpack.allowFilter", "true", git_dir=source.parent / "remote.git")
    git("clone", "--quiet", "--bare", *options, url, str(remote), cwd=folder)
    git("init", "--quiet", "--bare", str(folder / "second.git"), cwd=folder)
    return Mirror(folder / "second.git", f"file://{remote}", "", "main", AUTHOR)


def test_a_remote_without_its_history_is_refused(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    commit(source, {"a.txt": "two\n"})
    with pytest.raises(GitError, match="only the end of its history"):
        mirror.fetch(remote_like(source, tmp_path, "--depth=1"))


def test_a_remote_that_has_become_shallow_does_not_leave_the_base_where_it_was(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
) -> None:
    mirror.fetch(there)
    commit(source, {"a.txt": "two\n"})
    commit(source, {"a.txt": "three\n"})
    lacking = remote_like(source, tmp_path, "--depth=1")
    with pytest.raises(GitError, match="--unshallow"):
        mirror.fetch(Mirror(there.path, lacking.url, "", "main", AUTHOR))


def test_a_remote_without_its_files_is_refused(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(GitError):
        mirror.fetch(remote_like(source, tmp_path, "--filter=blob:none"))


@pytest.mark.parametrize("mark", ["shallow", "objects/pack/pack-1.promisor"])
def test_a_mirror_that_is_not_whole_is_refused(there: Mirror, mark: str) -> None:  # noqa: F811
    mirror.require_whole(there)
    (there.path / mark).touch()
    with pytest.raises(GitError, match="is a shallow or partial clone"):
        mirror.require_whole(there)


def test_looking_after_it_takes_no_object_away(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    commit(source, FILES)
    places = [scene(there, tmp_path, layout, layout) for layout in LAYOUTS]
    for turn in range(3):
        commit(source, {f"more-{turn}-{number}.txt": f"{turn} {number}" for number in range(150)})
        mirror.fetch(there)
        for place in places:
            # Trees and blobs that no ref reaches yet, in packs and loose.
            place.act(f"for i in $(seq {120 * (turn % 2) + 3}); do echo {turn} $i {place.layout} > f$i; done")
            place.snapshot()
    there.git("hash-object", "-w", "--stdin", stdin=b"loose")
    before, before_packs = objects(there), packs(there)
    trees = [place.snapshot().tree for place in places]
    for _ in range(4):
        mirror.maintain(there)
    assert before <= objects(there) and packs(there) < before_packs
    for place, tree in zip(places, trees, strict=True):
        assert place.act("git fsck --connectivity-only 2>&1 | grep -i missing; git log -1 --format=%H").strip()
        sha = collect.commit(there, tree, [place.place.start_sha], "m", place.layout)
        assert len(place.content(sha)) >= len(FILES)
        assert place.snapshot().tree == tree
    there.git("fsck", "--strict", "--connectivity-only")


def test_a_collected_tree_comes_as_loose_objects_or_as_a_pack(source: Path, there: Mirror, tmp_path: Path) -> None:  # noqa: F811
    here = scene(there, tmp_path, "overlay")
    before, known = packs(there), objects(there)
    here.act("echo x > x")
    here.snapshot()
    assert packs(there) == before and len(objects(there) - known) == 2, "a blob and a tree, and nothing known"
    here.act("for i in $(seq 200); do echo $i > f$i; done")
    tree = here.snapshot().tree
    assert packs(there) == before + 1 and len(here.content(tree)) == 203


def test_commits_are_read_where_a_users_settings_forbid_bare_repositories(
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sha = mirror.fetch(there)
    (tmp_path / "gitconfig").write_text("[safe]\n\tbareRepository = explicit\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert mirror.tree_of(there, sha) == there.git("rev-parse", f"{sha}^{{tree}}")
    assert mirror.is_ancestor(there, sha, sha)
    assert mirror.message_of(there, sha).strip() == "change"
    assert content_of(there, there.git("rev-parse", f"{sha}:a.txt")) == b"one\n"


def planted(repository: Path, kind: str, content: bytes) -> str:
    """An object as git would not write it today."""
    raw = f"{kind} {len(content)}\0".encode() + content
    sha = hashlib.sha1(raw).hexdigest()
    place = repository / "objects" / sha[:2] / sha[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(raw))
    return sha


@pytest.mark.parametrize("who", ["a <a@b> 1300000000 +051800", "a<a@b> 1300000000 +0500", "a <a@b>1300000000 +0500"])
@pytest.mark.parametrize("mode", ["40000", "040000"])
def test_the_oddities_of_an_old_history_keep_nobody_from_fetching_it(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    who: str,
    mode: str,
) -> None:
    remote = source.parent / "remote.git"
    folder = bytes.fromhex(git("rev-parse", "main^{tree}", git_dir=remote))
    tree = planted(remote, "tree", f"{mode} d\0".encode() + folder)
    old = planted(remote, "commit", f"tree {tree}\nauthor {who}\ncommitter {who}\n\nold\n".encode())
    git("update-ref", "refs/heads/main", old, git_dir=remote)
    git("fetch", "--quiet", "origin", cwd=source, options=("fetch.fsckObjects=false",))
    git("reset", "--quiet", "--hard", "origin/main", cwd=source)
    newest = commit(source, {"d/a.txt": "two\n"})
    assert mirror.fetch(there) == newest
    here = scene(there, tmp_path, "clone")
    here.act("echo three > d/a.txt; git commit -qam own")
    assert here.snapshot().changed == ("d/a.txt",)
    with here.reader() as reader:
        collect.keep_commits(there, here.place, "run", reader)


def test_what_is_more_than_odd_is_not_fetched(source: Path, there: Mirror) -> None:  # noqa: F811
    commit(source, {".gitmodules": '[submodule "../x"]\n\tpath = x\n\turl = ./x\n'})
    with pytest.raises(GitError, match="gitmodulesName"):
        mirror.fetch(there)
