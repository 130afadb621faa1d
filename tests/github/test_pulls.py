import json
from datetime import UTC, datetime, timedelta

import pytest

from agentd.errors import NotFound, Rejected
from agentd.github.pulls import (
    delete_branch,
    ensure_pull,
    find_pulls,
    merged_pulls_since,
    pull_state,
    recently_changed_pulls,
    recently_closed_pulls,
)

HEAD = "agent/P0-01"


@pytest.fixture
def sha(gh, branch):
    return branch(gh, HEAD)


def merge(gh, number):
    gh.request("PUT", f"{gh.base}/pulls/{number}/merge", body={})


def test_one_pull_request_a_branch(gh, sha, seen):
    pull = ensure_pull(gh, HEAD, "main", "title", "body")
    assert (pull.head_ref, pull.head_sha, pull.base, pull.state, pull.merged) == (HEAD, sha, "main", "open", False)
    watch = seen()
    assert ensure_pull(gh, HEAD, "main", "title", "body").number == pull.number
    assert watch.writes == []
    edited = ensure_pull(gh, HEAD, "main", "title 2", "body 2")
    assert (edited.number, edited.title) == (pull.number, "title 2")
    assert pull_state(gh, pull.number).body == "body 2"
    assert len(find_pulls(gh, HEAD, "all")) == 1


@pytest.mark.parametrize("looks", [1, 2])
def test_a_duplicate_that_the_look_missed_is_found_after_the_refusal(gh, sha, hub, looks):
    pull = ensure_pull(gh, HEAD, "main", "title", "body")
    hub.fault(method="GET", path="/pulls$", status=200, body="[]", times=looks)
    gh.memory.clear()
    assert ensure_pull(gh, HEAD, "main", "title", "body").number == pull.number


def test_a_branch_that_github_does_not_know_yet_is_waited_for(gh, sha, hub):
    said = {"errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}], "message": "Validation Failed"}
    hub.fault(method="POST", path="/pulls$", status=422, body=json.dumps(said), times=2)
    assert ensure_pull(gh, HEAD, "main", "title", "body").head_sha == sha


def test_a_branch_without_commits_is_refused(gh):
    main = gh.request("GET", f"{gh.base}/git/ref/heads/main").data["object"]["sha"]
    gh.request("POST", f"{gh.base}/git/refs", body={"ref": "refs/heads/agent/empty", "sha": main})
    with pytest.raises(Rejected):
        ensure_pull(gh, "agent/empty", "main", "t", "b")


@pytest.mark.parametrize("change", [{"repo": {"full_name": "mallory/widget"}}, {"ref": "agent/P0-02"}, {"repo": None}])
def test_another_head_is_not_ours_whatever_the_filter_let_through(gh, sha, hub, change):
    pull = gh.request("GET", f"{gh.base}/pulls/{ensure_pull(gh, HEAD, 'main', 't', 'b').number}").data
    pull["head"] |= change
    hub.fault(method="GET", path="/pulls$", status=200, body=json.dumps([pull]))
    assert find_pulls(gh, HEAD) == []


def test_a_draft(gh, sha):
    assert ensure_pull(gh, HEAD, "main", "t", "b", draft=True).draft


def test_the_reconcilers_list_is_one_request_and_free_when_nothing_changed(gh, sha, seen):
    pull = ensure_pull(gh, HEAD, "main", "t", "b")
    recently_changed_pulls(gh)
    watch = seen()
    assert [p.number for p in recently_changed_pulls(gh)] == [pull.number]
    assert recently_closed_pulls(gh) == []
    assert watch.short == [("GET", 304)] * 2 and watch.points == 0
    merge(gh, pull.number)
    (closed,) = recently_closed_pulls(gh)
    assert closed.merged and closed.merged_at is not None and closed.head_sha == sha and closed.base == "main"
    assert pull_state(gh, pull.number).merged


def test_merged_since(gh, sha, branch):
    pull = ensure_pull(gh, HEAD, "main", "t", "b")
    branch(gh, "agent/P0-02")
    other = ensure_pull(gh, "agent/P0-02", "main", "t", "b")
    merge(gh, pull.number)
    gh.pull(other.number).edit(state="closed")
    day = timedelta(days=1)
    assert [p.number for p in merged_pulls_since(gh, datetime.now(UTC) - day)] == [pull.number]
    assert merged_pulls_since(gh, datetime.now(UTC) + day) == []


def test_a_branch_is_deleted_once_and_only_where_it_was_seen(gh, sha):
    with pytest.raises(Rejected, match="left alone"):
        delete_branch(gh, HEAD, "0" * 40)
    assert delete_branch(gh, HEAD, sha)
    assert not delete_branch(gh, HEAD, sha)
    with pytest.raises(NotFound):
        gh.request("GET", f"{gh.base}/git/ref/heads/{HEAD}")


def test_a_branch_that_goes_between_look_and_delete_is_a_success(gh, sha, hub):
    real = gh.request

    def deleting(method, path, *rest, **more):
        if method == "DELETE":
            real(method, path)
        return real(method, path, *rest, **more)

    gh.request = deleting
    assert not delete_branch(gh, HEAD, sha)


def test_a_branch_that_may_not_be_deleted_is_an_error(gh):
    main = gh.request("GET", f"{gh.base}/git/ref/heads/main").data["object"]["sha"]
    with pytest.raises(Rejected):
        delete_branch(gh, "main", main)
