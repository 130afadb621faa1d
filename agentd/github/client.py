"""The door: one connection to one repository, through which every request goes.

PyGithub does the object work. Its own retry repeats a POST after a lost answer (three comments for one), its
requester cannot be shared by threads and it sleeps by itself; so each thread has a requester of ours, and what
may be repeated is decided here: reads are, writes never.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import requests
from github import Auth
from github.Issue import Issue as IssueHandle
from github.PullRequest import PullRequest as PullHandle
from github.Repository import Repository
from github.Requester import Requester
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from urllib3.exceptions import HTTPError

from agentd.errors import ConfigurationError, GitHubError, Moved, NotFound, RateLimited, Unavailable
from agentd.github.answers import error_of
from agentd.github.cache import EtagCache, MemoryCache
from agentd.github.limits import Headers, RateState, rate_of, reserve_reached
from agentd.github.sending import WatchedHTTP, WatchedHTTPS, watched

READ_ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0
LONGEST_RETRY_AFTER = timedelta(seconds=60)
"""A longer limit is raised at once, so that the caller decides what to do meanwhile."""

ISSUE = re.compile(r"/issues/\d+")
CLAIM_HEADER = "X-Agentd-Claim"
"""Sent with every write of a run: the task and the generation of the claim that it is made under."""

Clock = Callable[[], datetime]
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Answer:
    """A good answer: status (200..299 or 304), headers with lower-case names, the JSON or None."""

    status: int
    headers: Headers
    data: Any


class Guard(Protocol):
    """What may stop a write: the claim that it is made under."""

    @property
    def name(self) -> str:
        """`<task>/<generation>`, for whoever reads a proxy's log."""

    def check(self) -> None:
        """Before a request; raises ClaimLost."""

    def check_clock(self) -> None:
        """Before each piece of it that is sent, so by a look at the clock alone; raises ClaimLost."""


class GitHub:
    """State of one connection; thread-safe. What can be asked stands in the other files of this folder."""

    def __init__(
        self,
        api_url: str,
        token: str,
        repo: str,
        *,
        clock: Clock,
        sleep: Sleep,
        cache: EtagCache,
        reserve: int,
        timeout_seconds: int,
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self.repo = repo
        self.base = f"/repos/{repo}"
        self.clock = clock
        self.sleep = sleep
        self.cache = cache
        self.memory: dict[Any, Any] = {}
        """What was learned in this process (identity, permissions, list mirrors), by tuple; guarded by `lock`."""
        self.lock = threading.RLock()
        self._token = token
        self._reserve = reserve
        self._timeout_seconds = timeout_seconds
        self._rate: RateState | None = None
        self._stopped: RateLimited | None = None
        self._local = threading.local()

    def rate_state(self) -> RateState | None:
        """The primary limit as the last answer told it; None before the first."""
        return self._rate

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Reads of this thread inside belong to a write (the look before it): the reserve does not stop them."""
        before = getattr(self._local, "writing", False)
        self._local.writing = True
        try:
            yield
        finally:
            self._local.writing = before

    @contextmanager
    def guarding(self, guard: Guard) -> Iterator[None]:
        """Lets the guard stop requests of this thread that write; its name is sent along with them."""
        before = getattr(self._local, "guard", None)
        self._local.guard = guard
        try:
            yield
        finally:
            self._local.guard = before

    @property
    def guard(self) -> Guard | None:
        """What this thread writes under."""
        return getattr(self._local, "guard", None)

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; `path` begins with "/" (under the API's address) or is an absolute URL that GitHub gave.

        Raises GitHubError (see errors.py); RateLimited also without sending, when nothing may be sent yet.
        """
        status, found, text = self.requester.requestJson(method, path, dict(params or {}), dict(headers or {}), body)
        return Answer(status, found, json.loads(text) if text else None)

    @property
    def requester(self) -> Requester:
        """This thread's requester: PyGithub keeps the request it is working on in the connection object."""
        if not hasattr(self._local, "requester"):
            self._local.requester = _Door(
                self,
                auth=Auth.Token(self._token),
                base_url=self.api_url,
                timeout=self._timeout_seconds,
                user_agent="agentd",
                per_page=100,
                verify=True,
                retry=None,
                pool_size=None,
                seconds_between_requests=0,
                seconds_between_writes=0,
            )
        found: Requester = self._local.requester
        return found

    def repository(self) -> Repository:
        """PyGithub's repository, not fetched."""
        return Repository(self.requester, {}, {"url": self.base}, False)

    def issue(self, number: int) -> IssueHandle:
        """PyGithub's issue for writing, not fetched."""
        return IssueHandle(self.requester, {}, {"url": f"{self.base}/issues/{number}"}, False)

    def pull(self, number: int) -> PullHandle:
        """PyGithub's pull request for writing, not fetched."""
        return PullHandle(self.requester, {}, {"url": f"{self.base}/pulls/{number}"}, False)

    def exchange(
        self, method: str, url: str, parameters: Mapping[str, Any] | None, send: Callable[[], tuple[int, Any, str]]
    ) -> tuple[int, dict[str, str], str]:
        """Sends, under the rules: limits respected, reads repeated, every failure one of errors.py."""
        path = urlsplit(url).path + (f"?{urlencode(parameters, doseq=True)}" if parameters else "")
        request, read = f"{method} {path}", method in ("GET", "HEAD") or path.endswith("/graphql")
        self._gate(request, read)
        if not read:
            guard = self.guard
            if guard is None:
                return self._once(request, read, send)
            guard.check()
            with watched(guard.check_clock):
                return self._once(request, read, send)
        retrying = Retrying(
            stop=stop_after_attempt(READ_ATTEMPTS),
            wait=self._wait_seconds,
            retry=retry_if_exception(self._worth_repeating),
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(self._once, request, read, send)

    def _once(
        self, request: str, read: bool, send: Callable[[], tuple[int, Any, str]]
    ) -> tuple[int, dict[str, str], str]:
        try:
            status, headers, text = send()
        except requests.exceptions.SSLError as error:
            raise GitHubError(self._clean(f"{request}: no trusted connection: {error}")) from None
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise Unavailable(self._clean(f"{request}: no answer ({type(error).__name__}: {error})")) from None
        except (AssertionError, RuntimeError, ValueError) as error:
            raise GitHubError(self._clean(f"{request}: PyGithub refused the answer: {error}")) from None
        now = self.clock()
        failure = error_of(request, status, headers, self._clean(text) if status >= 400 else text, now, read)
        with self.lock:
            self._rate = rate_of(headers, now) or self._rate
            if isinstance(failure, RateLimited):
                self._stopped = failure
        if isinstance(failure, Moved):
            raise self._left(request, failure)
        if failure is not None:
            raise failure
        return status, headers, text

    def _left(self, request: str, moved: Moved) -> GitHubError:
        """What a redirect stands for: an issue that has left a repository which itself is still there, or `moved`."""
        if not ISSUE.search(request):
            return moved
        self.request("GET", self.base)  # redirected as well where the repository has another name
        return NotFound(f"{request}: the issue was transferred to another repository", moved.status)

    def _gate(self, request: str, read: bool) -> None:
        now = self.clock()
        with self.lock:
            stopped, rate = self._stopped, self._rate
        if stopped is not None and now < stopped.retry_at:
            raise RateLimited(f"{request} not sent: {stopped}", stopped.retry_at, stopped.kind, stopped.status)
        if read and not getattr(self._local, "writing", False) and reserve_reached(rate, self._reserve, now):
            assert rate is not None
            raise RateLimited(
                f"{request} not sent: {rate.remaining} of {rate.limit} requests are left and kept for writes "
                f"until {rate.reset_at:%H:%M:%S} UTC",
                rate.reset_at,
                "primary",
            )

    def _worth_repeating(self, error: BaseException) -> bool:
        if isinstance(error, RateLimited):
            return error.retry_at - self.clock() <= LONGEST_RETRY_AFTER
        return isinstance(error, Unavailable)

    def _wait_seconds(self, attempt: RetryCallState) -> float:
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, RateLimited):
            return max(0.0, (error.retry_at - self.clock()).total_seconds())
        return wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)(attempt)

    def _clean(self, text: str) -> str:
        """The text without the token, which messages also quote in its repr."""
        for shape in (self._token, repr(self._token)[1:-1]) if self._token else ():
            text = text.replace(shape, "***")
        return text


class _Door(Requester):
    """PyGithub's requester, with `GitHub.exchange` around every request that any of its objects sends."""

    _Requester__httpConnectionClass = WatchedHTTP
    _Requester__httpsConnectionClass = WatchedHTTPS

    def __init__(self, github: GitHub, **settings: Any) -> None:
        super().__init__(**settings)
        self._github = github

    def requestJson(  # the name is PyGithub's
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,
        cnx: Any = None,
        follow_302_redirect: bool = False,
    ) -> tuple[int, dict[str, Any], str]:
        send = super().requestJson
        guard = self._github.guard
        if guard is not None and verb not in ("GET", "HEAD") and not url.endswith("/graphql"):
            headers = {**(headers or {}), CLAIM_HEADER: guard.name}
        return self._github.exchange(
            verb, url, parameters, lambda: send(verb, url, parameters, headers, input, cnx, follow_302_redirect)
        )


def connect(
    api_url: str,
    token: str,
    repo: str,
    *,
    clock: Clock,
    sleep: Sleep,
    cache: EtagCache | None = None,
    reserve: int = 100,
    timeout_seconds: int = 20,
) -> GitHub:
    """A connection to `repo` ("owner/name"); sends nothing yet.

    `clock` gives the time, aware, in UTC; `sleep` waits seconds; `cache` keeps ETags and bodies (in memory when
    None); `reserve` is how many requests of the quota are kept for writes. Raises ConfigurationError.
    """
    address = urlsplit(api_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigurationError(f"github api url {api_url!r}: expected http(s)://host, e.g. https://api.github.com")
    if repo.count("/") != 1 or not all(repo.split("/")) or any(c.isspace() or c in "?#%\\" for c in repo):
        raise ConfigurationError(f"repo {repo!r}: expected owner/name")
    if not token:
        raise ConfigurationError("no GitHub token: set GITHUB_TOKEN (or EXECUTOR_BOT_TOKEN)")
    return GitHub(
        api_url,
        token,
        repo,
        clock=clock,
        sleep=sleep,
        cache=MemoryCache() if cache is None else cache,
        reserve=reserve,
        timeout_seconds=timeout_seconds,
    )


__all__ = ["Answer", "Clock", "GitHub", "Sleep", "connect"]
