"""Issues, labels, comments, events as agentd reads and writes them."""

from __future__ import annotations

import re

import pytest

from agentd.practice import PracticeGitHub

from .conftest import Caller, Wall

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def numbers(answer: object) -> list[int]:
    return [issue["number"] for issue in answer.json()]  # type: ignore[attr-defined]  # a response


def test_times_have_whole_seconds(hub: PracticeGitHub, alice: Caller) -> None:
    issue = alice("POST", "/issues", {"title": "t", "body": None}).json()
    assert issue["created_at"] == issue["updated_at"] == "2026-05-01T12:00:00Z"
    assert issue["body"] is None


def test_list_filters_together(hub: PracticeGitHub, alice: Caller, wall: Wall) -> None:
    alice("POST", "/milestones", {"title": "m1"})
    for title, body in {
        "both": {"labels": ["a", "B"]},
        "one": {"labels": ["a"], "assignees": ["bob"]},
        "staged": {"milestone": 1},
        "shut": {"labels": ["a", "b"]},
    }.items():
        alice("POST", "/issues", {"title": title, **body})
    wall.turn(60)
    alice("PATCH", "/issues/4", {"state": "closed"})
    since = "2026-05-01T12:01:00Z"
    expected = {
        "": [3, 2, 1],
        "?labels=a,b": [1],
        "?labels=a&state=all": [4, 2, 1],
        "?state=closed": [4],
        f"?state=all&since={since}": [4],
        "?assignee=bob": [2],
        "?assignee=none": [3, 1],
        "?milestone=1": [3],
        "?creator=bob": [],
        "?direction=asc": [1, 2, 3],
        "?state=all&sort=updated": [4, 3, 2, 1],
    }
    assert {query: numbers(alice("GET", f"/issues{query}")) for query in expected} == expected


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/issues/1/comments", {"body": "hello"}),
        ("POST", "/issues/1/labels", {"labels": ["x"]}),
        ("PATCH", "/issues/1", {"title": "new"}),
        ("PATCH", "/issues/1", {"body": "new"}),
        ("POST", "/issues/1/assignees", {"assignees": ["bob"]}),
        ("PATCH", "/issues/1", {"state": "closed", "state_reason": "not_planned"}),
    ],
)
def test_a_change_moves_updated_at_and_since_is_inclusive(
    hub: PracticeGitHub, alice: Caller, wall: Wall, method: str, path: str, body: object
) -> None:
    hub.create_issue("alice/widget", "one")
    wall.turn(90)
    assert alice(method, path, body).ok
    assert numbers(alice("GET", "/issues?state=all&since=2026-05-01T12:01:30Z")) == [1]
    assert numbers(alice("GET", "/issues?state=all&since=2026-05-01T12:01:31Z")) == []


def test_pages_are_linked_by_repository_id_and_the_links_work(hub: PracticeGitHub, alice: Caller) -> None:
    for index in range(7):
        hub.create_issue("alice/widget", f"issue {index}")
    first = alice("GET", "/issues?per_page=3&state=all")
    assert re.search(r"/repositories/\d+/issues\?", first.links["next"]["url"])
    assert set(first.links) == {"next", "last"}
    seen, answer = numbers(first), first
    while "next" in answer.links:
        answer = alice("GET", "/" + answer.links["next"]["url"].removeprefix(hub.url))
        seen += numbers(answer)
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert set(answer.links) == {"prev", "first"}
    prefixed = alice("GET", "//api/v3/repos/alice/widget/issues?per_page=3")
    assert prefixed.links["next"]["url"].startswith(f"{hub.url}/api/v3/repositories/")


def test_labels_are_made_on_use_and_compared_without_case(alice: Caller) -> None:
    issue = alice("POST", "/issues", {"title": "t", "labels": ["status:todo"]}).json()
    assert issue["labels"][0]["name"] == "status:todo"
    again = alice("POST", "/labels", {"name": "Status:Todo"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "already_exists")
    assert [label["name"] for label in alice("POST", "/issues/1/labels", {"labels": ["STATUS:todo", "p"]}).json()] == [
        "status:todo",
        "p",
    ]
    assert alice("PATCH", "/labels/p", {"new_name": "a b/c", "color": "FF0000"}).json()["color"] == "ff0000"
    assert alice("GET", "/labels/a%20b%2Fc").json()["name"] == "a b/c"
    gone = alice("DELETE", "/issues/1/labels/nothing")
    assert (gone.status_code, gone.json()["message"]) == (404, "Label does not exist")
    assert [label["name"] for label in alice("DELETE", "/issues/1/labels/status:todo").json()] == ["a b/c"]
    assert alice("PUT", "/issues/1/labels", {"labels": ["z"]}).json()[0]["name"] == "z"
    assert alice("DELETE", "/labels/z").status_code == 204
    assert alice("GET", "/issues/1").json()["labels"] == []


def test_events_name_actor_and_what_happened(hub: PracticeGitHub, alice: Caller, tina: Caller) -> None:
    bot = hub.add_user("robo", id=4242, type="Bot")
    hub.create_issue("alice/widget", "one", "see", ["agent-ready"], author="robo")
    tina("DELETE", "/issues/1/labels/agent-ready")
    tina("PATCH", "/issues/1", {"title": "uno", "state": "closed"})
    alice("PATCH", "/issues/1", {"state": "open"})
    hub.create_issue("alice/widget", "two", "like #1")
    events = alice("GET", "/issues/1/events").json()
    assert [event["event"] for event in events] == ["labeled", "unlabeled", "renamed", "closed", "reopened"]
    assert (events[0]["label"]["name"], events[0]["actor"]["id"], events[0]["actor"]["type"]) == (
        "agent-ready",
        bot,
        "Bot",
    )
    assert events[2]["rename"] == {"from": "one", "to": "uno"}
    timeline = alice("GET", "/issues/1/timeline").json()
    assert timeline[-1]["event"] == "cross-referenced"
    assert timeline[-1]["source"]["issue"]["number"] == 2
    everywhere = alice("GET", "/issues/events").json()
    assert [event["event"] for event in everywhere][:2] == ["reopened", "closed"]
    assert everywhere[0]["issue"]["number"] == 1


def test_comments_of_the_repository_can_be_polled(hub: PracticeGitHub, alice: Caller, bob: Caller, wall: Wall) -> None:
    for number in (1, 2):
        hub.create_issue("alice/widget", f"issue {number}")
        alice("POST", f"/issues/{number}/comments", {"body": f"on {number}"})
    wall.turn(10)
    id = alice("GET", "/issues/1/comments").json()[0]["id"]
    assert bob("PATCH", f"/issues/comments/{id}", {"body": "edited"}).json()["user"]["login"] == "alice"
    assert [each["body"] for each in alice("GET", "/issues/comments").json()] == ["edited", "on 2"]
    newest = alice("GET", "/issues/comments?since=2026-05-01T12:00:10Z&sort=updated").json()
    assert [each["id"] for each in newest] == [id]
    assert bob("DELETE", f"/issues/comments/{id}").status_code == 204
    assert alice("GET", f"/issues/comments/{id}").status_code == 404


@pytest.mark.parametrize("path", ["/issues", "/issues/1/comments"])
def test_a_body_that_is_too_long_is_refused(hub: PracticeGitHub, alice: Caller, path: str) -> None:
    hub.create_issue("alice/widget", "one")
    answer = alice("POST", path, {"title": "t", "body": "x" * 65_537})
    assert answer.status_code == 422
    assert "too long" in answer.json()["errors"][0]["message"]
    assert alice("POST", path, {"title": "t", "body": "ü" * 65_536}).status_code == 201


def test_a_deleted_issue_is_gone_not_missing(hub: PracticeGitHub, alice: Caller) -> None:
    hub.create_issue("alice/widget", "one")
    hub.delete_issue("alice/widget", 1)
    assert [alice("GET", path).status_code for path in ("/issues/1", "/issues/2")] == [410, 404]
    assert hub.create_issue("alice/widget", "two") == 2


def test_a_transferred_issue_redirects(hub: PracticeGitHub, alice: Caller) -> None:
    hub.add_repo("alice/other")
    hub.create_issue("alice/other", "there before")
    hub.create_issue("alice/widget", "one")
    assert hub.transfer_issue("alice/widget", 1, "alice/other") == 2
    answer = alice("GET", "/issues/1")
    assert answer.status_code == 301
    assert answer.headers["Location"].endswith("/issues/2")
    assert alice("PATCH", "/issues/1", {"title": "t"}).status_code == 307
    assert alice("GET", "/issues").json() == []


def test_dependencies_and_sub_issues(hub: PracticeGitHub, alice: Caller) -> None:
    ids = [alice("POST", "/issues", {"title": title}).json()["id"] for title in ("a", "b", "c")]
    assert alice("POST", "/issues/1/dependencies/blocked_by", {"issue_id": ids[1]}).status_code == 201
    assert alice("POST", "/issues/2/dependencies/blocked_by", {"issue_id": ids[0]}).status_code == 422
    assert numbers(alice("GET", "/issues/1/dependencies/blocked_by")) == [2]
    assert numbers(alice("GET", "/issues/2/dependencies/blocking")) == [1]
    assert alice("GET", "/issues/1").json()["issue_dependencies_summary"]["blocked_by"] == 1
    assert alice("DELETE", f"/issues/1/dependencies/blocked_by/{ids[1]}").status_code == 200
    assert numbers(alice("GET", "/issues/1/dependencies/blocked_by")) == []
    assert alice("POST", "/issues/1/sub_issues", {"sub_issue_id": ids[2]}).status_code == 201
    assert numbers(alice("GET", "/issues/1/sub_issues")) == [3]
    assert alice("POST", "/issues/2/sub_issues", {"sub_issue_id": ids[2]}).status_code == 422


def test_reactions_lock_and_milestones(hub: PracticeGitHub, alice: Caller, mallory: Caller) -> None:
    hub.create_issue("alice/widget", "one")
    first = alice("POST", "/issues/1/reactions", {"content": "eyes"})
    again = alice("POST", "/issues/1/reactions", {"content": "eyes"})
    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 200, first.json()["id"])
    assert alice("GET", "/issues/1").json()["reactions"]["eyes"] == 1
    assert alice("DELETE", f"/issues/1/reactions/{first.json()['id']}").status_code == 204
    assert alice("PUT", "/issues/1/lock", {"lock_reason": "resolved"}).status_code == 204
    assert mallory("POST", "/issues/1/comments", {"body": "x"}).status_code == 403
    assert alice("POST", "/milestones", {"title": "m"}).json()["number"] == 1
    assert alice("PATCH", "/issues/1", {"milestone": 1}).json()["milestone"]["open_issues"] == 1
    assert alice("PATCH", "/milestones/1", {"state": "closed"}).json()["closed_at"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("is:issue label:bug", [1]),
        ('is:open "second thing"', [2]),
        ("state:closed", [3]),
        ("-label:bug is:open", [2]),
        ("thing in:title", [3, 2, 1]),
        ("no:label author:alice", [3, 2]),
    ],
)
def test_search(hub: PracticeGitHub, alice: Caller, query: str, expected: list[int]) -> None:
    hub.create_issue("alice/widget", "first thing", labels=["bug"])
    hub.create_issue("alice/widget", "second thing")
    hub.create_issue("alice/widget", "third thing")
    alice("PATCH", "/issues/3", {"state": "closed"})
    found = alice("GET", "//search/issues", params={"q": f"repo:alice/widget {query}"}).json()
    assert sorted((item["number"] for item in found["items"]), reverse=True) == expected
    assert found["total_count"] == len(expected)
