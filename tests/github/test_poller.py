import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from agentd.errors import GitHubError
from agentd.github.poller import FULL_READ_EVERY, poll_issues

READY = "agent-ready"


def numbers(gh, **settings):
    return [issue.number for issue in poll_issues(gh, READY, **settings)]


@pytest.fixture
def fill(hub, hub_time):
    """`fill(n)` makes n labelled issues, an hour ago; their numbers."""

    def make(count):
        hub_time.ago = timedelta(hours=1)
        made = [hub.create_issue("alice/widget", f"issue {i}", "body", [READY], "alice") for i in range(count)]
        hub_time.ago = timedelta()
        return made

    return make


def settled(gh):
    """Polls until the list of changes is in the cache."""
    numbers(gh)
    return numbers(gh)


def test_500_issues_take_5_requests_and_then_nothing_costs_nothing(gh, seen, fill):
    expected = fill(500)
    gh.request("GET", "/user")
    watch = seen()
    assert numbers(gh) == expected
    assert len(watch.requests) == 5
    watch = seen()
    assert numbers(gh) == expected
    assert len(watch.requests) == 1
    watch = seen()
    for _ in range(3):
        assert numbers(gh) == expected
    assert watch.short == [("GET", 304)] * 3 and watch.points == 0


def test_a_change_costs_one_request(gh, seen, fill):
    (first, *_) = fill(120)
    settled(gh)
    gh.issue(first).edit(title="new title")
    watch = seen()
    assert {issue.number: issue.title for issue in poll_issues(gh, READY)}[first] == "new title"
    assert watch.short == [("GET", 200)]


@pytest.mark.parametrize("where", [0, 150, 249])
def test_an_issue_that_loses_its_label_disappears_wherever_it_stands(gh, where, fill):
    found = fill(250)
    settled(gh)
    gh.issue(found[where]).remove_from_labels(READY)
    assert numbers(gh) == [number for number in found if number != found[where]]


def test_closing_reopening_labelling_and_new_issues_are_seen(gh, hub, fill):
    a, b = fill(2)
    other = hub.create_issue(gh.repo, "other", "b", [], "alice")
    assert settled(gh) == [a, b]
    gh.issue(a).edit(state="closed")
    assert numbers(gh) == [b]
    gh.issue(a).edit(state="open")
    gh.issue(other).add_to_labels(READY.upper())
    assert numbers(gh) == [a, b, other]
    new = hub.create_issue(gh.repo, "new", "b", [READY], "alice")
    assert numbers(gh) == [a, b, other, new]
    assert numbers(gh, state="all") == [a, b, other, new]


def test_pull_requests_are_no_issues(gh, branch, fill):
    (a,) = fill(1)
    branch(gh, "agent/P0-01")
    pull = gh.repository().create_pull("main", "agent/P0-01", title="t", body="b")
    gh.issue(pull.number).add_to_labels(READY)
    assert numbers(gh) == [a]
    gh.issue(pull.number).edit(title="again")
    assert numbers(gh) == [a]


def test_two_changes_in_one_second_are_both_seen(gh, fill):
    a, b, c = fill(3)
    settled(gh)
    gh.issue(a).edit(title="one")
    assert poll_issues(gh, READY)[0].title == "one"
    gh.issue(b).edit(title="two")
    gh.issue(c).remove_from_labels(READY)
    assert [issue.title for issue in poll_issues(gh, READY)] == ["one", "two"]


def test_a_departure_while_the_pages_are_read_loses_nobody(gh, fill):
    found = fill(150)
    send = gh.request

    def leaving(method, path, *rest, **more):
        answer = send(method, path, *rest, **more)
        if not path.endswith("page=2") and "labels" in (rest[0] if rest else {}):
            gh.issue(found[0]).remove_from_labels(READY)
        return answer

    gh.request = leaving
    try:
        first = numbers(gh)
    finally:
        del gh.request
    assert found[100] not in first, "the arrangement of this test: the shift makes the reading miss one"
    assert numbers(gh) == found[1:]


def test_pages_are_read_again_now_and_then_and_cost_nothing(gh, time, seen, fill):
    expected = fill(101)
    settled(gh)
    time.now += FULL_READ_EVERY + timedelta(seconds=1)
    watch = seen()
    assert numbers(gh) == expected
    assert watch.short == [("GET", 304)] * 2 and watch.points == 0


def test_a_deleted_issue_is_gone_after_the_next_reading_of_the_pages(gh, hub, time, fill):
    a, b = fill(2)
    settled(gh)
    hub.delete_issue(gh.repo, a)
    time.now += FULL_READ_EVERY + timedelta(seconds=1)
    assert numbers(gh) == [b]


def test_a_change_among_hundreds_in_one_second_is_seen(gh, hub, hub_time):
    hub_time.frozen = datetime.now(UTC)
    (first, *_) = [hub.create_issue(gh.repo, f"issue {i}", "b", [READY], "alice") for i in range(150)]
    settled(gh)
    gh.issue(first).edit(title="new title")
    assert poll_issues(gh, READY)[0].title == "new title"


def test_changes_that_ignore_since_are_refused(gh, hub, fill):
    (number,) = fill(1)
    numbers(gh)
    old = gh.request("GET", f"{gh.base}/issues/{number}").data
    hub.fault(method="GET", path=r"/issues$", status=200, body=json.dumps([old]))
    with pytest.raises(GitHubError, match="since= was ignored"):
        numbers(gh)


def test_pages_that_go_in_a_circle_end(gh, hub):
    link = f'<{hub.url}{gh.base}/issues?page=2>; rel="next"'
    hub.fault(method="GET", path=r"/issues$", status=200, body="[]", headers={"Link": link}, times=5)
    with pytest.raises(GitHubError, match="circle"):
        numbers(gh)


def test_a_long_list_of_changes_is_begun_anew(gh, seen, fill, hub_time):
    expected = fill(60)
    settled(gh)
    hub_time.ago = timedelta(minutes=-1)
    for number in expected:
        gh.issue(number).edit(title="changed")
    assert {issue.title for issue in poll_issues(gh, READY)} == {"changed"}
    since = seen().hub.log[-1].query
    numbers(gh)
    assert seen().hub.log[-1].query != since


def test_after_a_restart_the_pages_come_from_the_cache(gh, login, seen, fill):
    expected = fill(101)
    settled(gh)
    again = login("bot", cache=gh.cache)
    watch = seen()
    assert [issue.number for issue in poll_issues(again, READY)] == expected
    assert watch.points == 0


def test_a_broken_cache_is_read_over(gh, fill):
    expected = fill(1)
    settled(gh)

    class Broken:
        def get(self, key):
            return ('"etag"', "not json")

        def put(self, key, etag, body):
            pass

    gh.cache = Broken()
    gh.memory.clear()
    assert numbers(gh) == expected


def test_an_answer_that_ignores_the_filter_is_refused(gh, hub, fill):
    fill(1)
    other = hub.create_issue(gh.repo, "no label", "b", [], "alice")
    body = json.dumps([gh.request("GET", f"{gh.base}/issues/{other}").data])
    hub.fault(method="GET", path=r"/issues$", status=200, body=body)
    with pytest.raises(GitHubError, match="renamed"):
        numbers(gh)


def test_next_links_are_followed_as_given(gh, seen, fill):
    fill(101)
    watch = seen()
    numbers(gh)
    assert len(watch.requests) == 2
    assert re.search(r"page=2", watch.requests[1].query)
