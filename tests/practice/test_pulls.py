"""Pull requests: opening, following their heads, merging, reviews, checks."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from agentd.practice import PracticeGitHub

from .conftest import Caller


def opened(hub: PracticeGitHub, caller: Caller, body: str = "", **more: Any) -> Any:
    """The answer to opening a pull request from a new commit on `topic`."""
    hub.commit("alice/widget", "topic", {"topic.txt": "a\nb\n"}, "Add topic", author="bob")
    return caller("POST", "/pulls", {"title": "Topic", "head": "topic", "base": "main", "body": body, **more}).json()


def test_refused_pull_requests(hub: PracticeGitHub, bob: Caller) -> None:
    opened(hub, bob)
    bob(
        "POST",
        "/git/refs",
        {"ref": "refs/heads/same", "sha": bob("GET", "/git/ref/heads/main").json()["object"]["sha"]},
    )
    refused = {
        "topic": "A pull request already exists for alice:topic.",
        "same": "No commits between alice:main and alice:same",
        "missing": None,
    }
    for head, message in refused.items():
        answer = bob("POST", "/pulls", {"title": "t", "head": head, "base": "main"})
        error = answer.json()["errors"][0]
        assert (answer.status_code, error.get("message")) == (422, message)
    assert error == {"resource": "PullRequest", "field": "head", "code": "invalid"}


def test_a_pull_request_is_an_issue_too_and_shows_its_size(hub: PracticeGitHub, bob: Caller) -> None:
    pull = opened(hub, bob)
    assert (pull["commits"], pull["additions"], pull["deletions"], pull["changed_files"]) == (1, 2, 0, 1)
    listed = bob("GET", "/issues").json()[0]
    assert (listed["number"], listed["pull_request"]["merged_at"]) == (1, None)
    bob("POST", "/issues/1/labels", {"labels": ["x"]})
    assert bob("GET", "/pulls/1").json()["labels"][0]["name"] == "x"
    assert [file["filename"] for file in bob("GET", "/pulls/1/files").json()] == ["topic.txt"]
    assert [commit["commit"]["message"] for commit in bob("GET", "/pulls/1/commits").json()] == ["Add topic"]
    for query, count in {"head=alice:topic": 1, "head=bob:topic": 0, "base=main": 1, "state=closed": 0}.items():
        assert (query, len(bob("GET", f"/pulls?{query}").json())) == (query, count)


def test_mergeable_is_null_first_and_again_after_a_move(hub: PracticeGitHub, bob: Caller) -> None:
    assert opened(hub, bob)["mergeable"] is None

    def seen() -> list[Any]:
        pull = bob("GET", "/pulls/1").json()
        return [pull["mergeable"], pull["mergeable_state"]]

    assert [seen(), seen()] == [[None, "unknown"], [True, "clean"]]
    hub.commit("alice/widget", "main", {"topic.txt": "other\n"})
    assert [seen(), seen()] == [[None, "unknown"], [False, "dirty"]]
    refused = bob("PUT", "/pulls/1/merge")
    assert (refused.status_code, refused.json()["message"]) == (405, "Pull Request is not mergeable")


@pytest.mark.parametrize(("method", "parents", "commits"), [("merge", 2, 4), ("squash", 1, 3), ("rebase", 1, 3)])
def test_each_way_to_merge_keeps_both_sides(
    hub: PracticeGitHub, bob: Caller, method: str, parents: int, commits: int
) -> None:
    issue = hub.create_issue("alice/widget", "please")
    pull = opened(hub, bob, f"Closes #{issue}")
    hub.commit("alice/widget", "main", {"src/one.txt": None, "main.txt": "m"}, "Meanwhile")
    stale = bob("PUT", f"/pulls/{pull['number']}/merge", {"sha": "0" * 40})
    assert stale.status_code == 409
    assert bob("GET", "/pulls/2/merge").status_code == 404
    merged = bob("PUT", "/pulls/2/merge", {"merge_method": method, "sha": pull["head"]["sha"]}).json()
    assert bob("GET", "/pulls/2/merge").status_code == 204
    commit = bob("GET", f"/commits/{merged['sha']}").json()
    assert len(commit["parents"]) == parents
    assert len(bob("GET", "/commits").json()) == commits
    tree = bob("GET", "/git/trees/main?recursive=1").json()["tree"]
    assert [entry["path"] for entry in tree] == ["README.md", "main.txt", "topic.txt"]
    closed = bob("GET", f"/issues/{issue}").json()
    assert (closed["state"], closed["state_reason"], closed["closed_by"]["login"]) == ("closed", "completed", "bob")
    assert bob("GET", f"/issues/{issue}/events").json()[-1]["event"] in ("closed", "referenced")
    assert bob("PUT", "/pulls/2/merge").status_code == 405
    shown = bob("GET", "/pulls/2").json()
    assert (shown["merged"], shown["merged_by"]["login"], shown["merge_commit_sha"]) == (True, "bob", merged["sha"])


def test_a_rebase_replays_each_commit_on_a_moved_base(hub: PracticeGitHub, bob: Caller) -> None:
    opened(hub, bob)
    for text in ("a\nb\nc\n", "a\nB\nc\n"):
        hub.commit("alice/widget", "topic", {"topic.txt": text}, f"Make it {text!r}")
    hub.commit("alice/widget", "main", {"main.txt": "m"}, "Meanwhile")
    assert bob("PUT", "/pulls/1/merge", {"merge_method": "rebase"}).status_code == 200
    messages = [each["commit"]["message"].split()[0] for each in bob("GET", "/commits").json()]
    assert messages == ["Make", "Make", "Add", "Meanwhile", "Initial"]
    text = bob("GET", "/contents/topic.txt", headers={"Accept": "application/vnd.github.raw+json"}).text
    assert text == "a\nB\nc\n"


def test_a_draft_is_not_merged_until_it_is_ready(hub: PracticeGitHub, bob: Caller) -> None:
    node = opened(hub, bob, draft=True)["node_id"]
    assert bob("PUT", "/pulls/1/merge").status_code == 405
    query = (
        "mutation M($input: MarkPullRequestReadyForReviewInput!) { markPullRequestReadyForReview(input: $input) "
        + ("{ clientMutationId pullRequest { id isDraft } } }")
    )
    answer = bob("POST", "//graphql", {"query": query, "variables": {"input": {"pullRequestId": node}}}).json()
    assert answer["data"]["markPullRequestReadyForReview"]["pullRequest"] == {"id": node, "isDraft": False}
    assert bob("PUT", "/pulls/1/merge").status_code == 200


def test_deleting_the_head_closes_and_merging_can_delete_it(hub: PracticeGitHub, alice: Caller, bob: Caller) -> None:
    opened(hub, bob)
    assert bob("DELETE", "/git/refs/heads/topic").status_code == 204
    assert bob("GET", "/pulls/1").json()["state"] == "closed"
    assert [event["event"] for event in bob("GET", "/issues/1/events").json()] == ["head_ref_deleted", "closed"]
    assert bob("PATCH", "/pulls/1", {"state": "open"}).status_code == 422
    alice("PATCH", "", {"delete_branch_on_merge": True})
    opened(hub, bob)
    hub.merge("alice/widget", 2, "squash", "bob")
    assert bob("GET", "/branches/topic").status_code == 404
    assert bob("GET", "/pulls/2").json()["merged"] is True


def test_reviews(hub: PracticeGitHub, alice: Caller, bob: Caller, tina: Caller) -> None:
    opened(hub, bob)
    own = bob("POST", "/pulls/1/reviews", {"event": "APPROVE"})
    assert (own.status_code, own.json()["errors"]) == (422, ["Can not approve your own pull request"])
    requested = bob("POST", "/pulls/1/requested_reviewers", {"reviewers": ["alice"]}).json()
    assert requested["requested_reviewers"][0]["login"] == "alice"
    comments = [{"path": "topic.txt", "line": 1, "body": "why?"}]
    asked = {"event": "REQUEST_CHANGES", "body": "no", "comments": comments}
    review = alice("POST", "/pulls/1/reviews", asked).json()
    assert review["state"] == "CHANGES_REQUESTED"
    assert bob("GET", "/pulls/1/requested_reviewers").json()["users"] == []
    inline = bob("GET", "/pulls/1/comments").json()[0]
    reply = bob("POST", f"/pulls/1/comments/{inline['id']}/replies", {"body": "because"}).json()
    assert reply["in_reply_to_id"] == inline["id"]
    assert alice("PUT", f"/pulls/1/reviews/{review['id']}/dismissals", {"message": "ok"}).json()["state"] == "DISMISSED"
    assert [each["event"] for each in tina("GET", "/issues/1/timeline").json()].count("reviewed") == 1


def test_protection_holds_a_merge_until_checks_and_reviews_are_there(
    hub: PracticeGitHub, alice: Caller, bob: Caller
) -> None:
    sha = opened(hub, bob)["head"]["sha"]
    rules = {
        "required_status_checks": {"strict": False, "contexts": ["ci", "lint"]},
        "required_pull_request_reviews": {"required_approving_review_count": 1},
        "enforce_admins": True,
        "restrictions": None,
    }
    assert alice("PUT", "/branches/main/protection", rules).status_code == 200
    assert bob("GET", "/branches/main").json()["protected"] is True
    bob("GET", "/pulls/1")
    assert bob("GET", "/pulls/1").json()["mergeable_state"] == "blocked"

    def why() -> str:
        answer = bob("PUT", "/pulls/1/merge")
        assert answer.status_code == 405
        return str(answer.json()["message"])

    assert why() == 'Required status check "ci" is expected.'
    bob("POST", f"/statuses/{sha}", {"state": "failure", "context": "ci"})
    assert why() == 'Required status check "ci" is failing.'
    bob("POST", f"/statuses/{sha}", {"state": "success", "context": "ci"})
    assert bob("GET", f"/commits/{sha}/status").json()["state"] == "success"
    assert len(bob("GET", "/commits/topic/statuses").json()) == 2
    run = bob("POST", "/check-runs", {"name": "lint", "head_sha": sha, "status": "in_progress"}).json()
    assert why() == 'Required status check "lint" is expected.'
    bob("PATCH", f"/check-runs/{run['id']}", {"conclusion": "success", "output": {"title": "t", "summary": "s"}})
    assert bob("GET", f"/commits/{sha}/check-runs").json()["check_runs"][0]["status"] == "completed"
    assert bob("GET", f"/commits/{sha}/check-suites").json()["total_count"] == 1
    assert "review" in why()
    alice("POST", "/pulls/1/reviews", {"event": "APPROVE"})
    assert bob("PUT", "/pulls/1/merge").status_code == 200


def test_update_branch_brings_the_base_in(hub: PracticeGitHub, bob: Caller) -> None:
    head = opened(hub, bob)["head"]["sha"]
    assert bob("PUT", "/pulls/1/update-branch").status_code == 422
    hub.commit("alice/widget", "main", {"main.txt": "m"})
    assert bob("PUT", "/pulls/1/update-branch", {"expected_head_sha": head}).status_code == 202
    compared = bob("GET", "/compare/main...topic").json()
    assert (compared["status"], compared["ahead_by"], compared["behind_by"]) == ("ahead", 2, 0)


def test_a_fork_can_ask_for_its_branch_to_be_merged(hub: PracticeGitHub, alice: Caller, mallory: Caller) -> None:
    assert mallory("POST", "/forks").json()["fork"] is True
    hub.commit("mallory/widget", "idea", {"idea.txt": "!"}, author="mallory")
    pull = mallory("POST", "/pulls", {"title": "Idea", "head": "mallory:idea", "base": "main"}).json()
    assert pull["head"]["repo"]["full_name"] == "mallory/widget"
    moved = hub.commit("mallory/widget", "idea", {"idea.txt": "?"}, author="mallory")
    assert alice("GET", "/pulls/1").json()["head"]["sha"] == moved
    assert alice("PUT", "/pulls/1/merge").status_code == 200
    assert alice("GET", "/contents/idea.txt").json()["size"] == 1


def test_a_merge_made_elsewhere_and_pushed_counts_as_merged(hub: PracticeGitHub, bob: Caller, tmp_path: Path) -> None:
    pull = opened(hub, bob)
    bob("PATCH", "/git/refs/heads/main", {"sha": pull["head"]["sha"]})
    assert bob("GET", "/pulls/1").json()["merged"] is True
    bare = hub.world.repo("alice/widget").git.path
    assert subprocess.run(["git", f"--git-dir={bare}", "fsck", "--strict"], check=False).returncode == 0
