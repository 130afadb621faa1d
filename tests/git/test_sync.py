"""Every scenario of the corpus: what a sync makes of it, and that nothing is lost or undone by it."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest

from agentd.git.commits import Commit, read_commits
from agentd.git.mirror import Mirror
from agentd.git.sync import Synced, sync
from agentd.git.trees import Entry
from tests.git.corpus import SCENARIOS
from tests.git.corpus.building import AGENTD, Built, Scenario, build
from tests.git.corpus.lockfiles import manifests_of

Files = dict[str, Entry]


def test_the_corpus_is_as_large_as_it_was_meant_to_be() -> None:
    assert len(SCENARIOS) >= 60
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(scenario, tmp_path)
    fired = tmp_path / "fired"
    if scenario.hostile:
        _set_traps(built.mirror, tmp_path, fired, monkeypatch)
    refs = built.mirror.git("for-each-ref")
    synced = _sync(built)
    assert (synced.status, set(synced.files)) == (scenario.status, set(scenario.files)), synced
    assert (synced.lockfiles, synced.merged_lockfiles) == (scenario.lockfiles, scenario.merged_lockfiles)
    assert len(synced.dropped) == scenario.dropped
    assert scenario.reason in synced.reason
    assert synced.reason.isprintable()
    assert len(synced.reason) < 1000
    _check_history(scenario, built, synced)
    if synced.status == "conflict":
        assert synced.sha == built.branch
        assert not synced.files or built.mirror.git("cat-file", "-t", synced.marked) == "tree"
    else:
        _check_content(scenario, built, synced)
        assert _sync(built) == synced, "not the same commits a second time"
        again = sync(built.mirror, synced.sha, built.base, recorded_base=built.base, manifests_of=manifests_of)
        assert (again.status, again.sha) == ("clean", synced.sha), "what is up to date was changed"
    assert built.mirror.git("for-each-ref") == refs
    assert not fired.exists()


def _sync(built: Built) -> Synced:
    return sync(built.mirror, built.branch, built.base, recorded_base=built.recorded, manifests_of=manifests_of)


def _set_traps(mirror: Mirror, folder: Path, fired: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user or an installation may have configured; each of these would leave a file when it is run."""
    trap = folder / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {fired}\nexit 1\n")
    trap.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[commit]\ngpgSign = true\n[gpg]\nprogram = {trap}\n[core]\nhooksPath = {mirror.path / 'hooks'}\n"
        f'[merge "evil"]\ndriver = {trap}\n[filter "evil"]\nclean = {trap}\nsmudge = {trap}\n'
        f'[merge "lfs"]\ndriver = {trap}\n[filter "lfs"]\nclean = {trap}\nsmudge = {trap}\nrequired = true\n'
        f'[diff "evil"]\ntextconv = {trap}\n[diff]\nexternal = {trap}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    mirror.git("config", "commit.gpgSign", "true")
    mirror.git("config", "gpg.program", str(trap))
    (mirror.path / "hooks").mkdir()
    for hook in ("pre-commit", "commit-msg", "post-commit", "pre-rebase", "reference-transaction", "post-rewrite"):
        (mirror.path / "hooks" / hook).symlink_to(trap)
    # The tree's own attributes are read by no git in a bare repository; these are.
    (mirror.path / "info").mkdir(exist_ok=True)
    (mirror.path / "info" / "attributes").write_text("* merge=evil diff=evil filter=evil\n")


def _check_history(scenario: Scenario, built: Built, synced: Synced) -> None:
    """The result is where its way leads; commits that were made again say what they said, by the same people."""
    mirror, sha = built.mirror, synced.sha
    if scenario.way in {"base", "branch", "conflict"}:
        assert sha == (built.base if scenario.way == "base" else built.branch)
        return
    assert mirror.git("merge-base", built.base, sha) == built.base
    task = _commits(mirror, f"{built.recorded or built.base}..{built.branch}", f"^{built.base}")
    if scenario.way == "merge":
        (made,) = read_commits(mirror, [sha])
        assert made.parents == (built.branch, built.base)
        assert made.committer_email == AGENTD.email
        return
    assert all(commit.committer_email == AGENTD.email for commit in task), "a foreign commit was rewritten"
    made_again = _commits(mirror, f"{built.base}..{sha}")
    kept = [commit for commit in task if commit.sha not in synced.dropped]
    assert [_said(commit) for commit in made_again] == [_said(commit) for commit in kept]


def _commits(mirror: Mirror, *revisions: str) -> list[Commit]:
    listed = mirror.git("rev-list", "--reverse", "--topo-order", *revisions).splitlines()
    return read_commits(mirror, listed)


def _said(commit: Commit) -> tuple[bytes, ...]:
    return (commit.author, commit.committer, commit.encoding, commit.message)


def _check_content(scenario: Scenario, built: Built, synced: Synced) -> None:
    """Nothing of the task is lost and nothing of the base is undone, path by path."""
    mirror = built.mirror
    fork_sha = built.recorded if _dropped(built) else mirror.git("merge-base", built.base, built.branch)
    fork, base, branch, result = (_files(mirror, sha) for sha in (fork_sha, built.base, built.branch, synced.sha))
    # A change that the base had gained as a whole, whatever became of it there, is upstream's affair.
    landed = scenario.way == "base" and synced.dropped
    for path in fork.keys() | base.keys() | branch.keys() | result.keys():
        before, theirs, ours, after = (side.get(path) for side in (fork, base, branch, result))
        if path in synced.lockfiles or path in scenario.moved:
            continue
        if ours == before:
            assert after == theirs or _moved_away(branch, fork, path), f"{path}: not as the base has it"
        elif theirs == before and not landed:
            assert after == ours or _moved_away(base, fork, path), f"{path}: not as the task has it"
    made_anew = {posixpath.basename(path) for path in synced.lockfiles}
    known = _lines(mirror, fork) | _lines(mirror, result)
    # Of commits that were left out everything must have been on the base at some time.
    upstream = mirror.git("rev-list", f"{fork_sha}..{built.base}").split() if synced.dropped else []
    since = set().union(*(_lines(mirror, _files(mirror, sha)) for sha in upstream))
    for side, elsewhere in ((base, set[bytes]()), (branch, since)):
        added = {path: entry for path, entry in side.items() if fork.get(path) != entry}
        counted = {path: entry for path, entry in added.items() if posixpath.basename(path) not in made_anew}
        lost = _lines(mirror, counted) - known - elsewhere
        assert not lost, f"lost: {sorted(lost)[:5]}"
    assert landed or not (fork.keys() - branch.keys()) & result.keys(), "what the task deleted is back"
    for path in synced.lockfiles:
        # At its own place, or at the one that the task moved it to.
        assert result.get(path) in {base.get(path), *base.values()}, "not upstream's version of the lockfile"


def _dropped(built: Built) -> bool:
    recorded = built.recorded
    return bool(recorded) and recorded not in built.mirror.git("rev-list", built.base).split()


def _moved_away(side: Files, fork: Files, path: str) -> bool:
    """True when that side has renamed or removed the file, so that the other side's edit went elsewhere."""
    return path in fork and path not in side


def _files(mirror: Mirror, sha: str) -> Files:
    listed = mirror.git("ls-tree", "-r", "-z", "--full-tree", sha).split("\0")[:-1]
    found = {}
    for line in listed:
        header, _, path = line.partition("\t")
        mode, _, blob = header.split(" ")
        found[path] = Entry(mode, blob)
    return found


def _lines(mirror: Mirror, files: Files) -> set[bytes]:
    """Every line of every file, read by one process."""
    shas = list(dict.fromkeys(entry.sha for entry in files.values() if entry.mode != "160000"))
    asked = "".join(f"{sha}\n" for sha in shas).encode()
    data = mirror.git("cat-file", "--batch", stdin=asked).encode(errors="surrogateescape")
    found: set[bytes] = {entry.sha.encode() for entry in files.values() if entry.mode == "160000"}
    start = 0
    for _ in shas:
        header, _, _ = data[start : start + 200].partition(b"\n")
        size = int(header.split(b" ")[2])
        start += len(header) + 1
        found |= set(data[start : start + size].split(b"\n"))
        start += size + 1
    return found
