import pytest

from agentd.errors import NotFound
from agentd.github.issues import close_issue, create_issue, find_issue, get_issue
from agentd.github.labels import set_status


def test_an_issue_is_read(gh, hub):
    number = hub.create_issue(gh.repo, "title", "body", ["agent-ready"], "alice")
    issue = get_issue(gh, number)
    assert (issue.title, issue.body, issue.state, issue.labels, issue.author) == (
        "title",
        "body",
        "open",
        ("agent-ready",),
        "alice",
    )
    with pytest.raises(NotFound):
        get_issue(gh, 4711)


def test_creating_twice_gives_the_same_issue(gh, seen):
    first = create_issue(gh, "[P0-01] a\nb", "body", ["agent-ready"])
    assert first.title == "[P0-01] a b" and first.labels == ("agent-ready",)
    watch = seen()
    assert create_issue(gh, "[P0-01] a\nb", "other body").number == first.number
    assert watch.writes == []


def test_a_closed_issue_counts_too(gh):
    first = create_issue(gh, "a", "body")
    close_issue(gh, first.number)
    assert create_issue(gh, "a", "body").number == first.number


def test_the_marker_counts_only_in_our_own_issue(gh, hub):
    marker = "<!-- agentd:task:P0-01 -->"
    forged = hub.create_issue(gh.repo, "forged", marker, [], "mallory")
    made = create_issue(gh, "[P0-01] a", "body", marker=marker)
    assert made.number != forged and marker in made.body
    assert create_issue(gh, "renamed since", "body", marker=marker).number == made.number
    assert find_issue(gh, title="[P0-02] b") is None


def test_closing_is_idempotent_and_keeps_the_first_reason(gh, hub, seen):
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    assert close_issue(gh, number, "not_planned")
    watch = seen()
    assert not close_issue(gh, number, "completed")
    assert watch.writes == []
    assert get_issue(gh, number).state_reason == "not_planned"


def test_a_transferred_issue_is_not_here_and_its_namesake_elsewhere_is_left_alone(gh, hub):
    hub.add_repo("alice/other")
    hub.grant("alice/other", "bot", "write")
    number = hub.create_issue(gh.repo, "mine", "b", ["agent-ready"], "alice")
    elsewhere = hub.transfer_issue(gh.repo, number, "alice/other")
    for act in (
        lambda: get_issue(gh, number),
        lambda: set_status(gh, number, "status:in-progress"),
        lambda: gh.issue(number).create_comment("for nobody"),
        lambda: gh.request("GET", f"{gh.base}/issues/{number}/events"),
    ):
        with pytest.raises(NotFound, match="transferred to another repository"):
            act()
    there = gh.request("GET", f"/repos/alice/other/issues/{elsewhere}").data
    assert there["labels"] == [] and there["comments"] == 0
