import sys
import threading
from dataclasses import dataclass
from datetime import timedelta

import pytest

from agentd.errors import (
    ClaimLost,
    ConfigurationError,
    Forbidden,
    GitHubError,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from agentd.github import connect
from agentd.github.client import READ_ATTEMPTS

ANYTHING = ".*"


def test_a_read_is_repeated_and_then_given_up(gh, hub, time, seen):
    hub.fault(method="GET", path="/issues", status=502, times=READ_ATTEMPTS - 1)
    watch = seen()
    assert gh.request("GET", f"{gh.base}/issues").data == []
    assert watch.short == [("GET", 502)] * 3 + [("GET", 200)]
    assert time.slept == [0.5, 1.0, 2.0]
    hub.fault(method="GET", path="/issues", status=503, times=READ_ATTEMPTS)
    with pytest.raises(Unavailable, match=r"GET /repos/alice/widget/issues: 503") as caught:
        gh.request("GET", f"{gh.base}/issues")
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"status": 502, "after": True}, {"drop": "before"}, {"drop": "after"}]
)
def test_a_write_is_sent_once(gh, hub, seen, fault):
    hub.fault(method="POST", path="/comments", **fault)
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    watch = seen()
    with pytest.raises(Unavailable):
        gh.issue(number).create_comment("hello")
    assert len(watch.requests) == 1


@dataclass
class Lease:
    """A guard whose two checks may be over, each after so many looks."""

    checks: int = 99
    looks: int = 99
    name: str = "issue-1/1"

    def check(self):
        self.checks -= 1
        if self.checks < 0:
            raise ClaimLost("generation 3, expected 2")

    def check_clock(self):
        self.looks -= 1
        if self.looks < 0:
            raise ClaimLost("the lease is over")


@pytest.mark.parametrize("lease", [Lease(checks=0), Lease(looks=0), Lease(looks=1)])
def test_a_write_is_stopped_by_its_guard_up_to_the_last_byte_and_a_read_is_not(gh, hub, seen, lease):
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    watch = seen()
    with gh.guarding(lease):
        gh.request("GET", f"{gh.base}/labels")
        with pytest.raises(ClaimLost):
            gh.issue(number).create_comment("hello")
    gh.issue(number).create_comment("hello")
    assert watch.short == [("GET", 200), ("POST", 201)]
    assert [record.headers.get("x-agentd-claim") for record in watch.requests] == [None, None]
    with gh.guarding(Lease()):
        gh.issue(number).create_comment("again")
    assert watch.requests[-1].headers["x-agentd-claim"] == "issue-1/1"


def test_a_dropped_read_is_repeated(gh, hub, seen):
    hub.fault(method="GET", path="/labels", drop="before")
    watch = seen()
    gh.request("GET", f"{gh.base}/labels")
    assert len(watch.requests) == 2


def test_a_slow_answer_is_unavailable(login, hub):
    gh = login("bot", timeout_seconds=1)
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    hub.fault(method="POST", path="/comments", delay=1.5)
    with pytest.raises(Unavailable, match="no answer"):
        gh.issue(number).create_comment("hello")


def test_a_short_secondary_limit_is_waited_for_by_reads(gh, hub, time):
    hub.fault(method="GET", path="/labels", status=403, headers={"Retry-After": "31"}, body='{"message": "slow"}')
    gh.request("GET", f"{gh.base}/labels")
    assert 31 <= sum(time.slept) < 32


def test_a_long_limit_is_raised_at_once_and_nothing_is_sent_before_its_end(gh, hub, time, seen):
    hub.fault(method="GET", path="/labels", status=429, headers={"Retry-After": "120"})
    with pytest.raises(RateLimited) as caught:
        gh.request("GET", f"{gh.base}/labels")
    assert time.slept == [] and caught.value.retry_at == time.now + timedelta(seconds=120)
    assert caught.value.kind == "secondary"
    watch = seen()
    time.now += timedelta(seconds=119)
    for method in ("GET", "POST"):
        with pytest.raises(RateLimited, match="not sent"):
            gh.request(method, f"{gh.base}/labels")
    assert watch.requests == []
    time.now += timedelta(seconds=1)
    gh.request("GET", f"{gh.base}/labels")


def test_a_primary_limit_waits_for_its_reset(gh, hub, time):
    reset = int((time.now + timedelta(minutes=30)).timestamp())
    headers = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
    hub.fault(method="GET", path="/labels", status=403, headers=headers, body='{"message": "API rate limit exceeded"}')
    with pytest.raises(RateLimited) as caught:
        gh.request("GET", f"{gh.base}/labels")
    assert caught.value.kind == "primary"
    assert abs(caught.value.retry_at - time.now - timedelta(minutes=30)) < timedelta(seconds=3)


def test_the_reserve_stops_reads_but_not_writes_nor_the_look_before_a_write(gh, hub, time, seen):
    reset = int((time.now + timedelta(minutes=30)).timestamp())
    headers = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "99", "X-RateLimit-Reset": str(reset)}
    number = hub.create_issue(gh.repo, "t", "b", [], "alice")
    low = {"method": ANYTHING, "path": "", "status": 200, "headers": headers, "body": "{}"}
    hub.fault(**low)
    gh.request("GET", f"{gh.base}/labels")
    state = gh.rate_state()
    assert state is not None and (state.limit, state.remaining, state.used) == (5000, 99, 4901)
    watch = seen()
    with pytest.raises(RateLimited, match="99 of 5000"):
        gh.request("GET", f"{gh.base}/labels")
    assert watch.requests == []
    with gh.writing():
        hub.fault(**low)
        gh.request("GET", f"{gh.base}/labels")
    with pytest.raises(RateLimited):
        gh.request("GET", f"{gh.base}/labels")
    gh.issue(number).create_comment("hello")


def test_a_wrong_token_a_missing_thing_and_a_missing_right(gh, hub, login, time):
    wrong = connect(hub.url, "wrong-token", gh.repo, clock=time, sleep=time.sleep)
    with pytest.raises(Unauthorized, match="401 Bad credentials"):
        wrong.request("GET", "/user")
    with pytest.raises(NotFound):
        gh.request("GET", f"{gh.base}/issues/4711")
    with pytest.raises((Forbidden, NotFound)):
        login("mallory").request("POST", f"{gh.base}/labels", body={"name": "x", "color": "ffffff"})


def test_the_token_is_in_no_message(hub, time):
    secret = "ghp_0123456789abcdef"
    gh = connect(hub.url, secret, "alice/widget", clock=time, sleep=time.sleep)
    hub.fault(method="GET", path="/labels", status=400, body=f'{{"message": "bad token {secret}"}}')
    with pytest.raises(GitHubError) as caught:
        gh.request("GET", f"{gh.base}/labels")
    assert secret not in str(caught.value) and "***" in str(caught.value)


def test_a_token_that_is_no_header_is_in_no_message(hub, time):
    gh = connect(hub.url, "ghp_0123456789abcdef\nbot account", "alice/widget", clock=time, sleep=time.sleep)
    with pytest.raises(GitHubError, match="InvalidHeader") as caught:
        gh.request("GET", f"{gh.base}/labels")
    assert "0123456789" not in str(caught.value) and "***" in str(caught.value)


def test_an_unreachable_github_is_unavailable(time):
    gh = connect("http://127.0.0.1:9", "t", "a/b", clock=time, sleep=time.sleep)
    with pytest.raises(Unavailable, match="no answer"):
        gh.request("GET", "/user")


def test_a_body_that_is_a_json_string_is_refused(gh, hub):
    hub.fault(method="GET", path="/issues", status=200, body='"abcd"')
    with pytest.raises(GitHubError, match="no JSON"):
        gh.request("GET", f"{gh.base}/issues")


def test_each_thread_has_its_own_requester(gh):
    found = [gh.requester, gh.requester]
    thread = threading.Thread(target=lambda: found.append(gh.requester))
    thread.start()
    thread.join()
    assert found[0] is found[1] and found[2] is not found[0]


def test_threads_do_not_get_each_others_answers(gh, hub):
    numbers = [hub.create_issue(gh.repo, f"title {i}", "b", [], "alice") for i in range(8)]
    wrong: list[object] = []

    def ask(number: int) -> None:
        for _ in range(10):
            got = gh.request("GET", f"{gh.base}/issues/{number}").data["number"]
            if got != number:
                wrong.append((number, got))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=ask, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert wrong == []


@pytest.mark.parametrize(
    ("url", "token", "repo"),
    [("ftp://x", "t", "a/b"), ("http://x", "", "a/b"), ("http://x", "t", "a"), ("http://x", "t", "a/b?c")],
)
def test_unusable_settings_are_named(url, token, repo, time):
    with pytest.raises(ConfigurationError):
        connect(url, token, repo, clock=time, sleep=time.sleep)
