"""Every write against every fault: called again until it succeeds, there is exactly one of everything."""

import pytest

from agentd.errors import RateLimited, Unavailable
from agentd.github.comments import issue_comments, upsert_sticky
from agentd.github.issues import close_issue, create_issue, get_issue
from agentd.github.labels import LABELS, ensure_labels, set_status
from agentd.github.pulls import delete_branch, ensure_pull, find_pulls

HEAD = "agent/P0-01"
TRIES = 4

SECONDARY = '{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}'
FAULTS = {
    "500 before": {"status": 500},
    "502 after": {"status": 502, "after": True},
    "drop before": {"drop": "before"},
    "drop after": {"drop": "after"},
    "403 secondary with Retry-After": {"status": 403, "body": SECONDARY, "headers": {"Retry-After": "90"}},
    "403 secondary": {"status": 403, "body": SECONDARY},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "90"}},
    "429": {"status": 429},
    "slow": {"delay": 1.5},
}


def all_issues(gh):
    return gh.request("GET", f"{gh.base}/issues", {"state": "all", "per_page": 100}).data


class MakeComment:
    method, path = "POST", "/comments$"

    def prepare(self, gh, number, sha):
        pass

    def run(self, gh, number, sha):
        upsert_sticky(gh, number, "run", "report")

    def check(self, gh, number):
        assert [c.body for c in issue_comments(gh, number)] == ["<!-- agentd:run -->\nreport"]


class EditComment(MakeComment):
    method, path = "PATCH", "/comments/"

    def prepare(self, gh, number, sha):
        upsert_sticky(gh, number, "run", "before")


class MakePull(MakeComment):
    path = "/pulls$"

    def run(self, gh, number, sha):
        ensure_pull(gh, HEAD, "main", "title", "body")

    def check(self, gh, number):
        assert [(p.title, p.body) for p in find_pulls(gh, HEAD, "all")] == [("title", "body")]


class EditPull(MakePull):
    method, path = "PATCH", "/pulls/"

    def prepare(self, gh, number, sha):
        ensure_pull(gh, HEAD, "main", "before", "before")


class AddStatus(MakeComment):
    path = "/labels$"

    def run(self, gh, number, sha):
        set_status(gh, number, "status:in-review")

    def check(self, gh, number):
        assert sorted(get_issue(gh, number).labels) == ["agent-ready", "status:in-review"]


class RemoveStatus(AddStatus):
    method, path = "DELETE", "/labels/"


class EnsureLabels(MakeComment):
    path = "/labels$"

    def run(self, gh, number, sha):
        ensure_labels(gh, LABELS[4:7])

    def check(self, gh, number):
        names = [item["name"] for item in gh.request("GET", f"{gh.base}/labels", {"per_page": 100}).data]
        assert all(names.count(label.name) == 1 for label in LABELS[4:7])


class CloseIssue(MakeComment):
    method, path = "PATCH", "/issues/"

    def run(self, gh, number, sha):
        close_issue(gh, number)

    def check(self, gh, number):
        issue = get_issue(gh, number)
        assert (issue.state, issue.state_reason) == ("closed", "completed")


class CreateIssue(MakeComment):
    path = "/issues$"

    def run(self, gh, number, sha):
        create_issue(gh, "[P0-02] new", "body", ["agent-ready"], marker="<!-- agentd:task:P0-02 -->")

    def check(self, gh, number):
        assert [i["title"] for i in all_issues(gh)].count("[P0-02] new") == 1


class DeleteBranch(MakeComment):
    method, path = "DELETE", "/git/refs/"

    def run(self, gh, number, sha):
        delete_branch(gh, HEAD, sha)

    def check(self, gh, number):
        refs = gh.request("GET", f"{gh.base}/branches").data
        assert [ref["name"] for ref in refs] == ["main"]


OPERATIONS = (
    MakeComment,
    EditComment,
    MakePull,
    EditPull,
    AddStatus,
    RemoveStatus,
    EnsureLabels,
    CloseIssue,
    CreateIssue,
    DeleteBranch,
)


# A second slow answer shows nothing new and costs a second.
STRIKES = [(fault, times) for fault in FAULTS for times in (1, 2) if (fault, times) != ("slow", 2)]


@pytest.mark.parametrize(("fault", "times"), STRIKES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_called_again_until_it_succeeds_there_is_exactly_one(operation, fault, times, hub, login, time, branch):
    gh = login("bot", timeout_seconds=1)
    sha = branch(gh, HEAD)
    number = hub.create_issue(gh.repo, "t", "b", ["agent-ready", "status:todo"], "alice")
    act = operation()
    act.prepare(gh, number, sha)
    hub.fault(method=act.method, path=act.path, times=times, **FAULTS[fault])
    for _ in range(TRIES):
        try:
            act.run(gh, number, sha)
            break
        except RateLimited as error:
            assert error.retry_at > time.now
            time.now = error.retry_at
        except Unavailable:
            time.sleep(1)
    else:
        pytest.fail("never succeeded")
    act.check(gh, number)


@pytest.mark.parametrize("operation", [MakeComment, MakePull, CreateIssue])
def test_when_every_answer_is_lost_there_still_is_only_one(operation, hub, login, branch):
    gh = login("bot")
    sha = branch(gh, HEAD)
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    act = operation()
    hub.fault(method=act.method, path=act.path, times=9, status=502, after=True)
    act.run(gh, number, sha)
    act.check(gh, number)


def test_making_gives_up_after_three_tries(hub, gh, seen):
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    hub.fault(method="POST", path="/comments$", times=9, status=500)
    watch = seen()
    with pytest.raises(Unavailable):
        upsert_sticky(gh, number, "run", "report")
    assert len(watch.writes) == 3
