"""The git room on real repositories: mirror, workspace, collect, push, sync, and what an agent may have bent."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError, GitError
from agentd.git import collect, mirror, push, sync, workspace
from agentd.git.mirror import Mirror
from agentd.git.naming import branch_of, task_of
from agentd.git.runner import Author, git

TASK = "P0-01"
AUTHOR = Author("tester", "tester@example.org")


def commit(source: Path, files: dict[str, str], branch: str = "main", message: str = "change") -> str:
    """A person's commit, pushed to the remote."""
    git("checkout", "--quiet", "-B", branch, cwd=source)
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    git("add", "--all", cwd=source)
    git("commit", "--quiet", "--message", message, cwd=source, environment=AUTHOR.environment())
    git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}", cwd=source)
    return git("rev-parse", "HEAD", cwd=source)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A person's clone of the remote."""
    git("init", "--quiet", "--bare", str(tmp_path / "remote.git"), cwd=tmp_path)
    git("clone", "--quiet", str(tmp_path / "remote.git"), str(tmp_path / "source"), cwd=tmp_path)
    commit(tmp_path / "source", {"a.txt": "one\n", ".gitignore": "ignored\n"})
    return tmp_path / "source"


@pytest.fixture
def there(source: Path, tmp_path: Path) -> Iterator[Mirror]:
    path = tmp_path / "mirror.git"
    git("init", "--quiet", "--bare", str(path), cwd=tmp_path)
    made = Mirror(path, f"file://{tmp_path / 'remote.git'}", "", "main", AUTHOR)
    made.git("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
    yield made


@pytest.fixture
def place(there: Mirror, tmp_path: Path) -> workspace.Workspace:
    base = mirror.fetch(there, TASK)
    (tmp_path / "run").mkdir()
    return workspace.prepare(there, tmp_path / "work" / TASK, tmp_path / "run", branch_of(TASK), base)


def on_host(place: workspace.Workspace) -> collect.Reader:
    """git's own reading of the workspace, without a sandbox."""
    return collect.Reader(str(place.path / ".git"))


def content(there: Mirror, sha: str) -> dict[str, str]:
    names = there.git("ls-tree", "-r", "--name-only", sha).splitlines()
    return {name: there.git("cat-file", "blob", f"{sha}:{name}") for name in names}


def test_work_goes_from_workspace_to_remote(there: Mirror, place: workspace.Workspace) -> None:
    (place.path / "a.txt").write_text("two\n")
    (place.path / "new.txt").write_text("new\n")
    (place.path / "ignored").write_text("x")
    found = collect.snapshot(there, place)
    assert sorted(found.changed) == ["a.txt", "new.txt"]
    sha = collect.commit(there, found.tree, [place.start_sha], "feat(P0-01): t", "run-1")
    assert collect.commit(there, found.tree, [place.start_sha], "feat(P0-01): t", "run-1") == sha
    push.push_branch(there, TASK, sha, None)
    mirror.fetch(there, TASK)
    assert mirror.remote_branch(there, TASK) == sha
    assert content(there, sha) == {".gitignore": "ignored", "a.txt": "two", "new.txt": "new"}


def test_a_change_in_the_same_second_with_the_same_size_is_seen(there: Mirror, place: workspace.Workspace) -> None:
    stat = (place.path / "a.txt").stat()
    (place.path / "a.txt").write_text("two\n")
    os.utime(place.path / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert collect.snapshot(there, place).changed == ("a.txt",)


def test_what_verify_changes_is_noticed_and_what_it_adds_is_not_committed(
    there: Mirror, place: workspace.Workspace
) -> None:
    (place.path / "a.txt").write_text("two\n")
    tree = collect.snapshot(there, place).tree
    (place.path / "report.xml").write_text("made by verify")
    assert collect.tracked_tree(there, place) == tree
    (place.path / "a.txt").write_text("three\n")
    assert collect.tracked_tree(there, place) != tree


def test_an_agents_own_commits_are_kept(there: Mirror, place: workspace.Workspace) -> None:
    (place.path / "a.txt").write_text("committed by the agent\n")
    git("commit", "--quiet", "-am", "mine", cwd=place.path, environment=AUTHOR.environment())
    own = git("rev-parse", "HEAD", cwd=place.path)
    (place.path / "a.txt").write_text("and changed again\n")
    collect.keep_commits(there, place, "run-1", on_host(place))
    assert mirror.resolve(there, "refs/agentd/runs/run-1/head") == own
    found = collect.snapshot(there, place)
    assert there.git("cat-file", "blob", f"{found.tree}:a.txt") == "and changed again"


def test_a_nested_repository_is_named_and_not_committed(there: Mirror, place: workspace.Workspace) -> None:
    git("init", "--quiet", "inner", cwd=place.path)
    (place.path / "inner" / "f").write_text("x")
    git("add", "--all", cwd=place.path / "inner")
    git("commit", "--quiet", "-m", "x", cwd=place.path / "inner", environment=AUTHOR.environment())
    found = collect.snapshot(there, place)
    assert (found.nested, found.changed) == (("inner",), ())


HOSTILE = {
    "fsmonitor": "git config core.fsmonitor {trap}",
    "hooks": "mkdir -p .git/hooks && cp {trap} .git/hooks/pre-commit && cp {trap} .git/hooks/reference-transaction",
    "clean filter": "git config filter.x.clean {trap} && echo '* filter=x' > .gitattributes",
    "smudge filter": "git config filter.x.smudge {trap} && echo '* filter=x' > .gitattributes",
    "external diff": "git config diff.external {trap}",
    "textconv": "git config diff.x.textconv {trap} && echo '* diff=x' > .gitattributes",
    "merge driver": "git config merge.x.driver {trap} && echo '* merge=x' > .gitattributes",
    "upload pack": "git config uploadpack.packObjectsHook {trap}",
    "include": "printf '[core]\\n fsmonitor = {trap}\\n' > .git/evil && git config include.path evil",
    "signing": "git config commit.gpgSign true && git config gpg.program {trap}",
    "own index": "git update-index --assume-unchanged a.txt && mkdir -p .git/info && echo '*' > .git/info/exclude",
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_in_the_workspace_runs_in_the_supervisor(
    there: Mirror, place: workspace.Workspace, tmp_path: Path, attack: str
) -> None:
    trap, fired = tmp_path / "trap", tmp_path / "fired"
    trap.write_text(f"#!/bin/sh\ntouch {fired}\ncat\n")
    trap.chmod(0o755)
    subprocess.run(["sh", "-c", attack.format(trap=trap)], cwd=place.path, check=True)
    (place.path / "a.txt").write_text("changed\n")
    fired.unlink(missing_ok=True)
    collect.keep_commits(there, place, "run-1", on_host(place))
    found = collect.snapshot(there, place)
    sha = collect.commit(there, found.tree, [place.start_sha], "m", "run-1")
    collect.tracked_tree(there, place)
    collect.diff_text(there, place.start_sha, sha)
    sync.merge_tree(there, sha, place.start_sha)
    assert not fired.exists()
    assert content(there, sha)["a.txt"] == "changed"
    # The trap itself works: the agent's own git does fall into it, or hides the change.
    subprocess.run(["git", "status"], cwd=place.path, capture_output=True)


@pytest.mark.parametrize(
    "bend",
    [
        "echo /elsewhere/objects >> .git/objects/info/alternates",
        "rm .git/objects/info/alternates",
        "mv .git elsewhere && ln -s elsewhere .git",
        "rm -rf .git && echo 'gitdir: /elsewhere' > .git",
        "echo /elsewhere > .git/commondir",
    ],
)
def test_a_bent_repository_is_refused_and_its_files_are_saved_all_the_same(
    there: Mirror, place: workspace.Workspace, bend: str
) -> None:
    (place.path / "a.txt").write_text("work\n")
    subprocess.run(["sh", "-c", bend], cwd=place.path, check=True)
    with pytest.raises(GitError, match="tampered"):
        collect.keep_commits(there, place, "run-1", on_host(place))
    saved = collect.save(there, place, TASK, "run-1", "why", on_host(place))
    assert saved == f"refs/agentd/salvage/{TASK}/run-1"
    assert content(there, saved)["a.txt"] == "work"


def test_a_push_never_goes_over_what_was_not_seen(there: Mirror, place: workspace.Workspace, source: Path) -> None:
    theirs = commit(source, {"person.txt": "p"}, branch=branch_of(TASK))
    (place.path / "a.txt").write_text("agent\n")
    sha = collect.commit(there, collect.snapshot(there, place).tree, [place.start_sha], "m", "run-1")
    for expected in (None, place.start_sha):
        with pytest.raises(push.Outdated):
            push.push_branch(there, TASK, sha, expected)
    mirror.fetch(there, TASK)
    assert mirror.remote_branch(there, TASK) == theirs


@pytest.mark.parametrize("other", ["agent", f"{branch_of(TASK)}/mine"])
def test_a_branch_that_leaves_no_place_for_the_tasks_is_named(there: Mirror, source: Path, other: str) -> None:
    for branch in ("agenda", "agen/t", "agents-first"):
        sha = commit(source, {"person.txt": branch}, branch=branch)
    mirror.fetch(there, TASK)
    assert mirror.branch_in_the_way(there, TASK) is None
    git("push", "--quiet", "origin", f"{sha}:refs/heads/{other}", cwd=source)
    mirror.fetch(there, TASK)
    assert mirror.branch_in_the_way(there, TASK) == other
    with pytest.raises(push.NameTaken, match=f"the branch {other} on the remote stands in the way"):
        push.push_branch(there, TASK, sha, None)
    git("push", "--quiet", "origin", f":refs/heads/{other}", cwd=source)
    mirror.fetch(there, TASK)
    assert mirror.branch_in_the_way(there, TASK) is None
    push.push_branch(there, TASK, sha, None)


def test_a_claim_is_made_once_and_moved_only_from_where_it_is(there: Mirror) -> None:
    first = push.claim_commit(there, '{"n": 1}', "")
    second = push.claim_commit(there, '{"n": 2}', first)
    push.push_claim(there, TASK, first, "")
    with pytest.raises(push.Outdated):
        push.push_claim(there, TASK, second, "")
    push.push_claim(there, TASK, second, first)
    mirror.fetch(there, TASK)
    assert mirror.seen_claim(there, TASK) == second
    assert mirror.message_of(there, second) == '{"n": 2}'
    with pytest.raises(push.Outdated):
        push.delete_claim(there, TASK, first)
    push.delete_claim(there, TASK, second)
    mirror.fetch(there, TASK)
    assert mirror.seen_claim(there, TASK) is None


def test_a_remote_that_takes_no_claims_says_so(there: Mirror, tmp_path: Path) -> None:
    hook = tmp_path / "remote.git" / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) exit 0;; esac\necho no; exit 1\n')
    hook.chmod(0o755)
    with pytest.raises(push.RefusedRef, match="refuses refs/agentd/claims/P0-01"):
        push.push_claim(there, TASK, push.claim_commit(there, "{}", ""), "")


def test_a_push_that_fails_is_called_one(there: Mirror, tmp_path: Path) -> None:
    sha = push.claim_commit(there, "work", "")
    nowhere = replace(there, url=str(tmp_path / "nowhere"))
    with pytest.raises(GitError, match=r"^git push failed \(128\): "):
        push.compare_and_push(nowhere, "refs/heads/agent/P0-01", sha, "", claim="P0-01 1")


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        ({"b.txt": "b"}, {"c.txt": "c"}, "clean"),
        ({"a.txt": "ours\n"}, {"a.txt": "theirs\n"}, "conflict"),
        ({"a.txt": "same\n"}, {"a.txt": "same\n"}, "clean"),
    ],
)
def test_sync_joins_branch_and_base_in_memory(
    there: Mirror, source: Path, ours: dict[str, str], theirs: dict[str, str], status: str
) -> None:
    start = git("rev-parse", "HEAD", cwd=source)
    branch = commit(source, ours, branch=branch_of(TASK))
    git("checkout", "--quiet", start, cwd=source)
    commit(source, theirs, branch="main")
    base = mirror.fetch(there, TASK)
    synced = sync.sync(there, branch, base)
    assert synced.status == status
    if status == "clean":
        assert mirror.is_ancestor(there, base, synced.sha)
        assert content(there, synced.sha).items() >= {k: v.strip() for k, v in (ours | theirs).items()}.items()
        # Commits that were made again go onto the remote in place of the old ones, which we have seen.
        push.push_branch(there, TASK, synced.sha, branch)
        mirror.fetch(there, TASK)
        assert mirror.remote_branch(there, TASK) == synced.sha
    else:
        assert (synced.files, synced.sha) == (("a.txt",), branch)


def test_a_missing_base_is_named(there: Mirror) -> None:
    lost = Mirror(there.path, there.url, "", "trunk", AUTHOR)
    with pytest.raises(GitError, match="base branch 'trunk' is not on"):
        mirror.fetch(lost, TASK)


def test_an_old_workspace_is_moved_aside_and_a_begun_one_taken_up(
    there: Mirror, place: workspace.Workspace, tmp_path: Path
) -> None:
    (place.path / "half.txt").write_text("half done")
    again = workspace.prepare(there, place.path, tmp_path / "run", branch_of(TASK), place.start_sha)
    assert (again.path / "half.txt").exists()
    (tmp_path / "run-2").mkdir()
    other = workspace.prepare(there, place.path, tmp_path / "run-2", branch_of(TASK), place.start_sha)
    assert not (other.path / "half.txt").exists()
    assert (place.path.parent / f".aside-{TASK}-1" / "half.txt").read_text() == "half done"


def test_a_workspace_that_fights_back_is_removed(place: workspace.Workspace) -> None:
    deep = place.path / "x" / "y"
    deep.mkdir(parents=True)
    (deep / "f").write_text("f")
    deep.chmod(0o500)
    (place.path / "x").chmod(0o500)
    workspace.remove(place.path)
    assert not list(place.path.parent.iterdir())


@pytest.mark.parametrize(
    "name",
    ["P4-01", "P0-1", "issue-0", "issue-01", "../x", "P0-01;id", "P0-01\n", "P0-01/..", "-D", "HEAD", "", "P0-01 "],
)
def test_only_task_ids_become_branches(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a task id"):
        branch_of(name)
    assert task_of(f"agent/{name}") is None


@pytest.mark.parametrize("name", ["P0-01", "P3-999", "issue-7", "issue-1234567890"])
def test_a_branch_tells_its_task(name: str) -> None:
    assert task_of(branch_of(name)) == name


def test_the_token_stays_with_a_remote_that_points_elsewhere(tmp_path: Path) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", "no token"))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Remote(Elsewhere):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", f"http://localhost:{elsewhere.server_port}{self.path}")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere, HTTPServer(("127.0.0.1", 0), Remote) as remote:
        for served in (elsewhere, remote):
            threading.Thread(target=served.serve_forever, daemon=True).start()
        with pytest.raises(GitError, match="301"):
            git("ls-remote", f"http://127.0.0.1:{remote.server_port}/a/b.git", cwd=tmp_path, token="very-secret")
        for served in (elsewhere, remote):
            served.shutdown()
    assert asked == []


def test_the_token_is_in_no_argument_and_no_variable(tmp_path: Path) -> None:
    """A stand-in for git on PATH writes down everything it was given."""
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n(echo "$@"; env) > {tmp_path}/seen\n')
    fake.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{fake.parent}:{path}"
    try:
        git("fetch", "http://h/x", cwd=tmp_path, token="very-secret-token")
    finally:
        os.environ["PATH"] = path
    assert "credential.helper" in (tmp_path / "seen").read_text()
    assert "very-secret-token" not in (tmp_path / "seen").read_text()


PLANT = """
mkdir -p sub && cd sub && git init -q . && echo x > file && git add file
git -c user.name=x -c user.email=x@x commit -qm x
echo '* filter=evil' > .gitattributes && git config filter.evil.clean {trap} && sleep 0.02 && touch file
"""


@pytest.mark.parametrize("is_submodule", [True, False], ids=["a submodule of the base", "nested, met twice"])
def test_no_configuration_of_a_repository_inside_the_tree_is_obeyed(
    source: Path, there: Mirror, tmp_path: Path, is_submodule: bool
) -> None:
    trap, fired = tmp_path / "trap", tmp_path / "fired"
    trap.write_text(f"#!/bin/sh\ntouch {fired}\ncat\n")
    trap.chmod(0o755)
    if is_submodule:
        git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'HEAD', cwd=source)},sub", cwd=source)
        git("commit", "--quiet", "--message", "link", cwd=source, environment=AUTHOR.environment())
        git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=source)
    base = mirror.fetch(there, TASK)
    (tmp_path / "run").mkdir()
    place = workspace.prepare(there, tmp_path / "work" / TASK, tmp_path / "run", branch_of(TASK), base)
    subprocess.run(["sh", "-c", PLANT.format(trap=trap)], cwd=place.path, check=True)
    (place.path / "a.txt").write_text("changed\n")
    if is_submodule:
        head = git("rev-parse", "HEAD", cwd=source).encode()
        (place.path / "sub" / ".git" / "HEAD").write_bytes(head + b"\n")
    else:
        # What a first look leaves in the index when its process is killed.
        environment = {"GIT_INDEX_FILE": str(place.index), "GIT_WORK_TREE": str(place.path)}
        there.git("add", "--all", "--", ".", cwd=place.path, environment=environment)
    fired.unlink(missing_ok=True)
    found = collect.snapshot(there, place)
    collect.tracked_tree(there, place)
    assert not fired.exists()
    assert found.nested == (() if is_submodule else ("sub",))
    assert there.git("show", f"{found.tree}:a.txt") == "changed"


def test_what_never_ends_to_be_read_and_what_is_too_deep_stop_nobody(there: Mirror, place: workspace.Workspace) -> None:
    with (place.path / ".git" / "objects" / "info" / "alternates").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(GitError, match="tampered"):
        collect.keep_commits(there, place, "run-1", on_host(place))
    deep = "mkdir d && cd d && i=0 && while [ $i -lt 1500 ]; do mkdir d && cd d || exit; i=$((i+1)); done"
    subprocess.run(["sh", "-c", deep], cwd=place.path / ".git", check=True)
    (place.path / "locked").mkdir()
    (place.path / "locked" / "file").touch()
    (place.path / "locked").chmod(0)
    workspace.remove(place.path)
    assert list(place.path.parent.iterdir()) == []
