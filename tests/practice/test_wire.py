"""Headers, conditional requests, limits, faults, the log, webhooks, control over HTTP, GraphQL."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests

from agentd.practice import PracticeGitHub

from .conftest import Caller, Wall


def used(caller: Caller) -> int:
    return int(caller("GET", "//rate_limit").json()["rate"]["used"])


def test_an_unchanged_list_is_304_and_free(hub: PracticeGitHub, alice: Caller) -> None:
    hub.create_issue("alice/widget", "one")
    first = alice("GET", "/issues")
    before = used(alice)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = alice("GET", "/issues", headers=tag)
    assert (again.status_code, again.content, used(alice)) == (304, b"", before)
    alice("POST", "/issues/1/comments", {"body": "x"})
    assert alice("GET", "/issues", headers=tag).status_code == 200
    assert [record.charged for record in hub.log if record.status == 304] == [False]


def test_last_modified_of_one_issue(hub: PracticeGitHub, alice: Caller, wall: Wall) -> None:
    hub.create_issue("alice/widget", "one")
    at = alice("GET", "/issues/1").headers["Last-Modified"]
    assert alice("GET", "/issues/1", headers={"If-Modified-Since": at}).status_code == 304
    wall.turn(5)
    alice("PATCH", "/issues/1", {"title": "new"})
    assert alice("GET", "/issues/1", headers={"If-Modified-Since": at}).status_code == 200


def test_the_primary_limit_ends_and_comes_back(hub: PracticeGitHub, alice: Caller, wall: Wall) -> None:
    hub.set_rate_limit(limit=100, remaining=1, reset_in=600)
    answer = alice("GET", "")
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, "0")
    refused = alice("GET", "")
    assert refused.status_code == 403
    assert "rate limit exceeded" in refused.json()["message"]
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert int(refused.headers["X-RateLimit-Reset"]) == int(wall().timestamp()) + 600
    assert alice("GET", "//rate_limit").status_code == 200
    wall.turn(601)
    assert alice("GET", "").headers["X-RateLimit-Remaining"] == "99"


@pytest.mark.parametrize("wait", [60, None])
def test_too_many_writes_meet_the_secondary_limit(
    hub: PracticeGitHub, alice: Caller, wall: Wall, wait: int | None
) -> None:
    hub.configure(secondary_after=2, secondary_retry_after=wait)
    statuses = [alice("POST", "/issues", {"title": "t"}).status_code for _ in range(3)]
    assert statuses == [201, 201, 403]
    refused = alice("POST", "/issues", {"title": "t"})
    assert "secondary rate limit" in refused.json()["message"]
    assert refused.headers.get("Retry-After") == (str(wait) if wait else None)
    assert int(refused.headers["X-RateLimit-Remaining"]) > 0
    wall.turn(61)
    assert alice("POST", "/issues", {"title": "t"}).status_code == 201


FAULTS: list[tuple[dict[str, Any], int | None, int]] = [
    ({"status": 502}, 502, 0),
    ({"status": 502, "after": True}, 502, 1),
    ({"status": 429, "headers": {"Retry-After": "7"}}, 429, 0),
    ({"drop": "before"}, None, 0),
    ({"drop": "after"}, None, 1),
    ({"delay": 0.01}, 201, 1),
]


@pytest.mark.parametrize(("fault", "status", "made"), FAULTS)
def test_faults_strike_once_before_or_after_the_work(
    hub: PracticeGitHub, alice: Caller, fault: dict[str, Any], status: int | None, made: int
) -> None:
    hub.fault("POST", r"/issues$", **fault)
    if status is None:
        with pytest.raises(requests.ConnectionError):
            alice("POST", "/issues", {"title": "t"})
    else:
        answer = alice("POST", "/issues", {"title": "t"})
        assert answer.status_code == status
        assert fault.get("headers", {}).items() <= answer.headers.items()
    assert len(alice("GET", "/issues").json()) == made
    assert [record.status for record in hub.log if record.method == "POST"] == [status or 0]
    assert alice("POST", "/issues", {"title": "t"}).status_code == 201


def test_the_log_tells_who_asked_what(hub: PracticeGitHub, alice: Caller, nobody: Caller) -> None:
    alice("POST", "/issues?x=1", {"title": "t"})
    nobody("GET", "//api/v3/repos/alice/widget")
    first, second = hub.log
    assert (first.method, first.path, first.query) == ("POST", "/repos/alice/widget/issues", "x=1")
    assert (first.user, first.status, first.charged, first.kind) == ("alice", 201, True, "rest")
    assert json.loads(first.body or b"") == {"title": "t"}
    assert (second.user, second.path) == (None, "/repos/alice/widget")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "Problems parsing JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, '"title"'),
        (b'{"title": 3}', 422, "string"),
    ],
)
def test_bodies_that_do_not_fit_are_refused(alice: Caller, body: bytes, status: int, message: str) -> None:
    answer = alice("POST", "/issues", data=body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_webhooks_are_signed(hub: PracticeGitHub) -> None:
    got: list[tuple[str, str, bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["X-GitHub-Event"], self.headers["X-Hub-Signature-256"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    hub.add_webhook("alice/widget", f"http://127.0.0.1:{receiver.server_port}/", "s3cret", ["issues", "push"])
    hub.create_issue("alice/widget", "one", labels=["x"])
    hub.commit("alice/widget", "topic", {"a": "b"})
    deadline = time.monotonic() + 10
    while len(got) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    receiver.shutdown()
    receiver.server_close()
    assert sorted(event for event, _, _ in got) == ["issues", "issues", "push"]
    for _, signature, body in got:
        assert signature == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert {json.loads(body).get("action") for _, _, body in got} == {"opened", "labeled", None}


def test_another_process_can_control_it(hub: PracticeGitHub, nobody: Caller) -> None:
    def control(path: str, body: object) -> Any:
        return nobody("POST", f"//_practice/{path}", body).json()

    assert control("users", {"login": "carol", "id": 77}) == {"id": 77}
    control("repos", {"full_name": "carol/site", "files": {"index.html": "<p>"}})
    control("grants", {"full_name": "carol/site", "login": "bob", "role": "write"})
    token = control("tokens", {"login": "bob"})["token"]
    control("config", {"limit": 7, "custom_refs": False})
    control("faults", {"method": "GET", "path": "/user$", "status": 500})
    bob = Caller(hub.url, token)
    assert [bob("GET", "//user").status_code for _ in range(2)] == [500, 200]
    shown = bob("GET", "//repos/carol/site")
    assert (shown.headers["X-RateLimit-Limit"], shown.json()["permissions"]["push"]) == ("7", True)
    assert [record["path"] for record in nobody("GET", "//_practice/log").json()] == [
        "/user",
        "/user",
        "/repos/carol/site",
    ]
    assert "message" in control("faults", {"nonsense": 1})


def test_graphql_knows_edits_and_the_viewer(hub: PracticeGitHub, alice: Caller, nobody: Caller, wall: Wall) -> None:
    hub.create_issue("alice/widget", "one", "before", ["bug"], author="mallory")
    query = """query Q($number: Int!, $owner: String = "alice") {
      viewer { login } rateLimit { remaining }
      repository(owner: $owner, name: "widget") { it: issue(number: $number) {
        ...Text lastEditedAt editor { login } labels(first: 5) { nodes { name } } } }
    } fragment Text on Issue { title body }"""

    def asked() -> Any:
        return alice("POST", "//graphql", {"query": query, "variables": {"number": 1}}).json()["data"]

    assert asked()["repository"]["it"]["lastEditedAt"] is None
    wall.turn(30)
    alice("PATCH", "/issues/1", {"body": "after"})
    data = asked()
    assert data["viewer"] == {"login": "alice"}
    assert data["repository"]["it"] == {
        "title": "one",
        "body": "after",
        "lastEditedAt": "2026-05-01T12:00:30Z",
        "editor": {"login": "alice"},
        "labels": {"nodes": [{"name": "bug"}]},
    }
    assert nobody("POST", "//graphql", {"query": query}).status_code == 401
    unknown = alice("POST", "//api/graphql", {"query": "{ viewer { shoeSize } }"})
    assert (unknown.status_code, "shoeSize" in unknown.json()["errors"][0]["message"]) == (200, True)
