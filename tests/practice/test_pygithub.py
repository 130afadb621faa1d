"""The library that agentd uses finds its way about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from github import Auth, Github, GithubException
from github.Repository import Repository

from agentd.practice import PracticeGitHub


@pytest.fixture(params=["", "/api/v3"])
def repo(hub: PracticeGitHub, request: pytest.FixtureRequest) -> Iterator[Repository]:
    github = Github(
        base_url=hub.url + request.param,
        auth=Auth.Token(hub.add_token("bob")),
        seconds_between_requests=0,
        seconds_between_writes=0,
        retry=None,
    )
    yield github.get_repo("alice/widget")
    github.close()


def test_issues_labels_and_comments(repo: Repository) -> None:
    issue = repo.create_issue("one", body="text", labels=["a"])
    issue.add_to_labels("b")
    issue.remove_from_labels("a")
    comment = issue.create_comment("hello")
    comment.edit("hello again")
    issue.edit(state="closed", state_reason="not_planned")
    found = next(iter(repo.get_issues(state="all", labels=["b"])))
    assert (found.number, found.state_reason, found.comments) == (1, "not_planned", 1)
    assert [event.event for event in issue.get_events()] == ["labeled", "labeled", "unlabeled", "closed"]
    assert [event.event for event in issue.get_timeline()].count("commented") == 1
    assert repo.get_collaborator_permission("bob") == "write"


def test_pages(hub: PracticeGitHub, repo: Repository) -> None:
    for index in range(65):
        hub.create_issue("alice/widget", f"issue {index}")
    issues = repo.get_issues()
    assert (issues.totalCount, len({issue.number for issue in issues})) == (65, 65)


def test_a_pull_request_from_branch_to_merge(hub: PracticeGitHub, repo: Repository) -> None:
    hub.commit("alice/widget", "topic", {"t": "1"}, author="bob")
    pull = repo.create_pull(base="main", head="topic", title="Topic", body="", draft=True)
    pull.mark_ready_for_review()
    pull.update()
    pull.create_issue_comment("x")
    repo.get_commit(pull.head.sha).create_status("success", context="ci")
    assert repo.get_commit(pull.head.sha).get_combined_status().state == "success"
    assert [file.filename for file in pull.get_files()] == ["t"]
    assert pull.merge(merge_method="squash", sha=pull.head.sha).merged
    assert pull.is_merged()
    repo.get_git_ref("heads/topic").delete()
    with pytest.raises(GithubException) as error:
        repo.get_git_ref("heads/topic")
    assert error.value.status == 404


def test_an_object_notices_that_nothing_changed(hub: PracticeGitHub, repo: Repository) -> None:
    hub.create_issue("alice/widget", "one")
    issue = repo.get_issue(1)
    assert issue.update() is False
    issue.create_comment("x")
    assert issue.update() is True
