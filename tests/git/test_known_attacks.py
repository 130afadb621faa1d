"""What an agent can write into its repository so that git runs it, and where: each fires for whoever runs git there.

The left-hand command of each row is what a supervisor does that has no repository of its own. It proves that the
attack works on this git; agentd's way of doing everything that it does is then shown not to set it off.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import collect
from agentd.git.changes import blobs, changes
from agentd.git.mirror import Mirror, fetch, tree_of
from agentd.git.push import push_branch
from agentd.git.runner import git
from agentd.git.sync import merge_tree, sync
from agentd.git.workspace import Workspace
from tests.git.test_git import TASK, on_host, place, source, there  # noqa: F401  # fixtures

COMMIT = "git commit -qam own"
FIRING = {
    "fsmonitor": ("git config core.fsmonitor {trap}", "git status"),
    "pre-commit": ("cp {trap} .git/hooks/pre-commit", COMMIT),
    "reference-transaction": ("cp {trap} .git/hooks/reference-transaction", "git update-ref refs/x HEAD"),
    "ssh command": ("git config core.sshCommand {trap}", "git fetch -q ssh://h.invalid/x"),
    "url": (
        "git config protocol.ext.allow always; git config 'url.ext::{trap} %S.insteadOf' https://h.invalid/",
        "git fetch -q https://h.invalid/x",
    ),
    "upload pack": (
        "git config remote.origin.url $PWD; git config remote.origin.uploadpack {trap}",
        "git fetch -q origin",
    ),
    "clean filter": ("git config filter.x.clean {trap}; echo '* filter=x' > .gitattributes", "git add a.txt"),
    "smudge filter": (
        "git config filter.x.smudge {trap}; echo '* filter=x' > .gitattributes",
        "rm a.txt; git checkout -q -f HEAD -- a.txt",
    ),
    "external diff": ("git config diff.external {trap}", "git diff"),
    "textconv": ("git config diff.x.textconv {trap}; echo '* diff=x' > .gitattributes", "git diff"),
    "merge driver": (
        "git config merge.x.driver {trap}; echo '* merge=x' > .gitattributes; git checkout -qb t; "
        "echo t > a.txt; git commit -qam t; git checkout -q -; echo o > a.txt; git commit -qam o; echo x > a.txt",
        "git checkout -q a.txt; git merge -q t",
    ),
    "signing": ("git config commit.gpgSign true; git config gpg.program {trap}", COMMIT),
    "credential helper": (
        "git config credential.helper {trap}",
        "printf 'protocol=https\\nhost=h\\n\\n' | git credential fill",
    ),
    "git file": (
        "git config core.fsmonitor {trap}; cp -r .git evil; rm -rf .git; echo 'gitdir: evil' > .git",
        "git status",
    ),
    "include": ("printf '[core]\\n fsmonitor = {trap}\\n' > .git/evil; git config include.path evil", "git status"),
    "bare repository in the tree": (
        "cp -r .git sub; git --git-dir sub config core.worktree ..; git --git-dir sub config core.fsmonitor {trap}",
        "cd sub && git status",
    ),
    "promisor": (
        "git config extensions.partialClone evil; git config remote.evil.promisor true; "
        "git config remote.evil.url 'ext::{trap}'; git config protocol.ext.allow always",
        "git cat-file -e 1111111111111111111111111111111111111111",
    ),
    "trailer": ("git config trailer.sign.command {trap}", "git commit -qam own --trailer 'sign: x'"),
    "submodule": (
        "git init -q ../module; git -C ../module commit -q --allow-empty -m m; "
        "git -c protocol.file.allow=always submodule --quiet add ../module s; "
        "git config submodule.s.update '!{trap}'; git -C s commit -q --allow-empty -m n",
        "git submodule --quiet update",
    ),
    "pager": ("git config core.pager {trap}", "script -qec 'git log -1' /dev/null < /dev/null"),
    "common folder": ("git config core.fsmonitor {trap}; cp -r .git evil; echo ../evil > .git/commondir", "git status"),
}
PERSON = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def shell(place: Workspace, command: str) -> None:  # noqa: F811
    """As an agent, or as somebody who trusts the folder: with nothing of agentd's environment."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0", **PERSON}
    subprocess.run(["sh", "-c", command], cwd=place.path, env=environ, capture_output=True, timeout=30)


def everything(there: Mirror, place: Workspace, reader: collect.Reader | None = None) -> str:  # noqa: F811
    """All that agentd ever does with a workspace; the tree that it has collected."""
    reader = reader or on_host(place)
    with suppress(GitError):  # one that was bent is refused, which is as well
        collect.keep_commits(there, place, "run-1", reader)
    found = collect.snapshot(there, place)
    sha = collect.commit(there, found.tree, [place.start_sha], "feat", "run-1")
    collect.tracked_tree(there, place)
    collect.save(there, place, TASK, "run-1", "why", reader)
    base = fetch(there, TASK)
    sync(there, sha, base)
    merge_tree(there, sha, base)
    changed = changes(there, place.start_sha, sha)
    blobs(there, [change.new_sha for change in changed if change.is_new_content])
    collect.diff_text(there, place.start_sha, sha)
    push_branch(there, TASK, sha, None)
    collect.clean(there, place)
    return found.tree


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    path = tmp_path / "trap"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/fired\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("attack", FIRING)
def test_what_fires_in_the_workspace_does_not_in_agentd(
    attack: str,
    there: Mirror,  # noqa: F811
    place: Workspace,  # noqa: F811
    trap: Path,
) -> None:
    fired = trap.with_name("fired")
    (place.path / ".git" / "hooks").mkdir(exist_ok=True)
    (place.path / "a.txt").write_text("changed by the agent\n")
    bend, naive = FIRING[attack]
    shell(place, bend.format(trap=trap))
    fired.unlink(missing_ok=True)  # the agent's own git may have set it off
    everything(there, place)
    assert not fired.exists()
    (place.path / "a.txt").write_text("changed again\n")
    shell(place, naive)
    assert fired.exists(), "the attack itself does not work here, so the test proves nothing"


def test_another_folder_called_the_working_tree_is_left_alone(
    there: Mirror,  # noqa: F811
    place: Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    shell(place, f"git config core.worktree {victim}")
    everything(there, place)
    assert (victim / "precious").exists()
    shell(place, "git reset -q --hard; git clean -qffdx")
    assert not (victim / "precious").exists(), "the attack itself does not work here"


def test_replaced_objects_hide_nothing(there: Mirror, place: Workspace) -> None:  # noqa: F811
    replace = "git replace $(git rev-parse HEAD:a.txt) $(echo good | git hash-object -w --stdin)"
    shell(place, f"echo evil > a.txt; {COMMIT}; {replace}")
    seen = subprocess.run(["git", "show", "HEAD:a.txt"], cwd=place.path, capture_output=True, text=True).stdout
    assert seen == "good\n", "the attack itself does not work here"
    tree = everything(there, place)
    assert git("show", f"{tree}:a.txt", git_dir=there.path) == "evil"
    assert git("show", "refs/agentd/runs/run-1/head:a.txt", git_dir=there.path) == "evil"


def test_what_the_agents_index_says_hides_nothing(there: Mirror, place: Workspace) -> None:  # noqa: F811
    shell(place, "git update-index --assume-unchanged a.txt; mkdir -p .git/info; echo '*' > .git/info/exclude")
    (place.path / "a.txt").write_text("evil\n")
    (place.path / "new.txt").write_text("evil\n")
    seen = subprocess.run(["git", "status", "--porcelain"], cwd=place.path, capture_output=True, text=True).stdout
    assert seen == "", "the attack itself does not work here"
    tree = everything(there, place)
    assert git("show", f"{tree}:a.txt", git_dir=there.path) == "evil"
    assert git("show", f"{tree}:new.txt", git_dir=there.path) == "evil"


@pytest.mark.parametrize(
    "bend",
    [
        "git config uploadpack.packObjectsHook {trap}; git config --global uploadpack.packObjectsHook {trap}",
        "git config extensions.partialClone evil; git config remote.evil.promisor true; "
        "git config remote.evil.url 'ext::{trap}'; git config protocol.ext.allow always; "
        "rm -f .git/objects/$(git rev-parse HEAD:a.txt | sed 's|^..|&/|')",
    ],
)
def test_a_fetch_from_the_workspace_runs_nothing(
    bend: str,
    there: Mirror,  # noqa: F811
    place: Workspace,  # noqa: F811
    trap: Path,
) -> None:
    shell(place, f"echo own > a.txt; {COMMIT}; {bend.format(trap=trap)}")
    trap.with_name("fired").unlink(missing_ok=True)
    everything(there, place)
    assert not trap.with_name("fired").exists()
    assert tree_of(there, place.start_sha)
