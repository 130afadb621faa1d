"""Git itself: clone and push by the real program, refs and objects over REST."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentd.practice import PracticeGitHub

from .conftest import Caller, Wall


class Clone:
    """A working clone of alice/widget with a user's token."""

    def __init__(self, hub: PracticeGitHub, path: Path, token: str | None, repo: str = "alice/widget") -> None:
        self.path = path
        who = f"x-access-token:{token}@" if token else ""
        self.url = hub.url.replace("http://", f"http://{who}") + f"/{repo}.git"

    def git(self, *args: str) -> subprocess.CompletedProcess[str]:
        config = ["-c", "user.name=Dev", "-c", "user.email=dev@example.com", "-c", "credential.helper="]
        env = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(self.path.parent)}
        return subprocess.run(
            ["git", *config, *args], cwd=self.path, env=env, capture_output=True, text=True, timeout=60
        )

    def made(self) -> Clone:
        self.path.mkdir()
        done = self.git("clone", "-q", self.url, ".")
        assert done.returncode == 0, done.stderr
        return self

    def committed(self, name: str, text: str = "x") -> str:
        (self.path / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Add {name}")
        return self.git("rev-parse", "HEAD").stdout.strip()


@pytest.fixture
def clone(hub: PracticeGitHub, tmp_path: Path) -> Clone:
    return Clone(hub, tmp_path / "clone", hub.add_token("bob")).made()


def test_a_push_moves_the_head_of_a_pull_request(hub: PracticeGitHub, bob: Caller, clone: Clone, wall: Wall) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.committed("one")
    assert clone.git("push", "-q", "origin", "topic").returncode == 0
    assert bob("POST", "/pulls", {"title": "t", "head": "topic", "base": "main"}).status_code == 201
    wall.turn(100)
    sha = clone.committed("two")
    assert clone.git("push", "-q", "origin", "topic").returncode == 0
    pull = bob("GET", "/pulls/1").json()
    assert (pull["head"]["sha"], pull["commits"], pull["updated_at"]) == (sha, 2, "2026-05-01T12:01:40Z")
    assert clone.git("fetch", "-q", "origin", "refs/pull/1/head").returncode == 0
    assert clone.git("rev-parse", "FETCH_HEAD").stdout.strip() == sha
    clone.git("commit", "-q", "--amend", "-m", "other")
    assert clone.git("push", "-q", "--force", "origin", "topic").returncode == 0
    events = [event["event"] for event in bob("GET", "/issues/1/events").json()]
    assert events == ["head_ref_force_pushed"]
    assert clone.git("push", "-q", "origin", ":topic").returncode == 0
    assert bob("GET", "/pulls/1").json()["state"] == "closed"
    assert {record.kind for record in hub.log} == {"rest", "git"}


def test_a_pushed_commit_closes_the_issue_it_names(hub: PracticeGitHub, bob: Caller, clone: Clone) -> None:
    hub.create_issue("alice/widget", "one")
    (clone.path / "fix").write_text("x")
    clone.git("add", "-A")
    clone.git("commit", "-q", "-m", "Fixes #1")
    assert clone.git("push", "-q", "origin", "HEAD:main").returncode == 0
    closed = bob("GET", "/issues/1/events").json()[-1]
    assert (closed["event"], closed["commit_id"]) == ("closed", clone.git("rev-parse", "HEAD").stdout.strip())


def test_a_large_push_and_clone(hub: PracticeGitHub, clone: Clone, tmp_path: Path) -> None:
    sha = clone.committed("big", "".join(f"{n * n * 7919} line {n}\n" for n in range(200_000)))
    assert clone.git("push", "-q", "origin", "main").returncode == 0
    other = Clone(hub, tmp_path / "other", None).made()
    assert other.git("rev-parse", "HEAD").stdout.strip() == sha


def test_who_may_fetch_and_push(hub: PracticeGitHub, clone: Clone, tmp_path: Path) -> None:
    hub.add_repo("alice/secret", private=True)
    tokens = {name: hub.add_token(name) for name in ("mallory", "tina", "bob")}
    readonly = hub.add_token("bob", read_only=True)
    clone.committed("x")

    def push(token: str | None) -> str:
        return clone.git("push", "-q", Clone(hub, clone.path, token).url, "HEAD:refs/heads/new").stderr

    assert "could not read Username" in push(None)
    assert "Authentication failed" in push("ghp_wrong")
    for token in (tokens["mallory"], tokens["tina"], readonly):
        assert "403" in push(token)
    assert push(tokens["bob"]) == ""
    secret = Clone(hub, clone.path, tokens["mallory"], "alice/secret")
    assert "not found" in clone.git("ls-remote", secret.url).stderr
    assert "could not read Username" in clone.git("ls-remote", Clone(hub, clone.path, None, "alice/secret").url).stderr


@pytest.mark.parametrize("allowed", [True, False])
def test_custom_refs_can_be_forbidden(hub: PracticeGitHub, bob: Caller, clone: Clone, allowed: bool) -> None:
    hub.configure(custom_refs=allowed)
    sha = clone.committed("x")
    pushed = clone.git("push", "-q", "origin", "HEAD:refs/agentd/claims/pushed", "HEAD:refs/heads/also")
    assert (pushed.returncode == 0) is allowed
    assert bob("GET", "/git/ref/heads/also").json()["object"]["sha"] == sha
    made = bob("POST", "/git/refs", {"ref": "refs/agentd/claims/made", "sha": sha})
    assert made.status_code == (201 if allowed else 422)
    names = [ref["ref"] for ref in bob("GET", "/git/matching-refs/agentd/cl").json()]
    assert names == (["refs/agentd/claims/made", "refs/agentd/claims/pushed"] if allowed else [])


def test_refs_over_rest(hub: PracticeGitHub, bob: Caller) -> None:
    main = bob("GET", "/git/ref/heads/main").json()
    sha = main["object"]["sha"]
    assert main["url"] == f"{hub.url}/repos/alice/widget/git/refs/heads/main"
    newer, other = hub.commit("alice/widget", "newer", {"n": "1"}), hub.commit("alice/widget", "other", {"o": "1"})
    ref = {"ref": "refs/agentd/claims/7", "sha": sha}
    steps = [
        ("POST", "/git/refs", ref, 201, None),
        ("POST", "/git/refs", ref, 422, "Reference already exists"),
        ("POST", "/git/refs", {**ref, "sha": "1" * 40}, 422, "Object does not exist"),
        ("PATCH", "/git/refs/agentd/claims/7", {"sha": newer}, 200, None),
        ("PATCH", "/git/refs/agentd/claims/7", {"sha": other}, 422, "Update is not a fast forward"),
        ("PATCH", "/git/refs/agentd/claims/7", {"sha": other, "force": True}, 200, None),
        ("DELETE", "/git/ref/agentd/claims/7", None, 404, "Not Found"),
        ("DELETE", "/git/refs/agentd/claims/7", None, 204, None),
        ("DELETE", "/git/refs/agentd/claims/7", None, 422, "Reference does not exist"),
        ("PATCH", "/git/refs/agentd/claims/7", {"sha": sha}, 422, "Reference does not exist"),
        ("GET", "/git/ref/agentd/claims/7", None, 404, "Not Found"),
        ("DELETE", "/git/refs/heads/main", None, 422, "Cannot delete the default branch"),
    ]
    for method, path, body, status, message in steps:
        answer = bob(method, path, body)
        got = answer.json().get("message") if answer.content else None
        assert (method, path, answer.status_code, got) == (method, path, status, message)


def test_only_one_of_many_creates_a_ref(hub: PracticeGitHub, bob: Caller) -> None:
    sha = bob("GET", "/git/ref/heads/main").json()["object"]["sha"]
    ref = {"ref": "refs/agentd/claims/1", "sha": sha}
    callers = [Caller(hub.url, bob.token) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda one: one("POST", "/git/refs", ref).status_code, callers))
    assert sorted(statuses) == [201] + [422] * 7


def test_a_commit_is_built_from_blobs_and_trees(hub: PracticeGitHub, bob: Caller) -> None:
    head = bob("GET", "/git/ref/heads/main").json()["object"]["sha"]
    blob = bob("POST", "/git/blobs", {"content": "aGk=", "encoding": "base64"}).json()["sha"]
    assert blob == hashlib.sha1(b"blob 2\0hi").hexdigest()
    entries = [
        {"path": "new/hi", "mode": "100644", "type": "blob", "sha": blob},
        {"path": "README.md", "mode": "100644", "type": "blob", "sha": None},
    ]
    base = bob("GET", f"/git/commits/{head}").json()["tree"]["sha"]
    tree = bob("POST", "/git/trees", {"base_tree": base, "tree": entries}).json()
    assert [entry["path"] for entry in tree["tree"]] == ["new", "src"]
    commit = bob("POST", "/git/commits", {"message": "m", "tree": tree["sha"], "parents": [head]}).json()
    assert bob("POST", "/git/refs", {"ref": "refs/heads/built", "sha": commit["sha"]}).status_code == 201
    compared = bob("GET", "/compare/main...built").json()
    assert {file["filename"]: file["status"] for file in compared["files"]} == {
        "README.md": "removed",
        "new/hi": "added",
    }


def test_contents_need_the_sha_that_is_there(bob: Caller) -> None:
    made = bob("PUT", "/contents/a/b.txt", {"message": "m", "content": "aGk="})
    sha = made.json()["content"]["sha"]
    assert made.status_code == 201
    assert bob("PUT", "/contents/a/b.txt", {"message": "m", "content": "aGk="}).status_code == 422
    assert bob("PUT", "/contents/a/b.txt", {"message": "m", "content": "eW8=", "sha": "0" * 40}).status_code == 409
    assert bob("PUT", "/contents/a/b.txt", {"message": "m", "content": "eW8=", "sha": sha}).status_code == 200
    assert bob("GET", "/contents/a/b.txt").json()["content"] == "eW8=\n"
    assert [entry["name"] for entry in bob("GET", "/contents/a").json()] == ["b.txt"]
    sha = bob("GET", "/contents/a/b.txt").json()["sha"]
    assert bob("DELETE", "/contents/a/b.txt", {"message": "m", "sha": sha}).status_code == 200
    assert bob("GET", "/contents/a/b.txt").status_code == 404


def test_a_fetch_whose_request_git_compresses_is_answered(hub: PracticeGitHub, tmp_path: Path) -> None:
    """git packs its request with gzip from 1 KiB on, which a client with many refs soon reaches."""
    hub.add_user("carol")
    hub.add_repo("carol/many", files={"a": "a"})
    clone = tmp_path / "many"
    run = functools.partial(subprocess.run, check=True, capture_output=True)
    run(["git", "clone", "--quiet", f"{hub.url}/carol/many.git", str(clone)])
    names = ["-c", "user.name=c", "-c", "user.email=c@example.org"]
    for number in range(64):
        run(["git", *names, "commit", "--quiet", "--allow-empty", "-m", str(number)], cwd=clone)
        run(["git", "branch", f"mine-{number}"], cwd=clone)
    sha = hub.commit("carol/many", "main", {"a": "b"}, author="carol")
    run(["git", "fetch", "--quiet", "origin"], cwd=clone)
    assert run(["git", "rev-parse", "origin/main"], cwd=clone).stdout.decode().strip() == sha
