"""The labelled issues, at the price of one free request when nothing changed.

The list is read once, page by page, and then kept up by a second list: every issue of the repository that was
updated since that reading (`since=`, all states, no label). It sees an issue that lost the label or was closed, which
no request for the labelled ones can; while nothing happens it is answered 304. Its ETag holds because `since` stays
the same until many issues have changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from agentd.errors import GitHubError
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.conditional import PER_PAGE, conditional, pages
from agentd.github.issues import issue_of
from agentd.model import Issue

State = Literal["open", "closed", "all"]

OVERLAP = timedelta(seconds=10)
"""How far `since` lies before what is known: GitHub's machines do not agree on the second."""

LONG_LIST = PER_PAGE // 2
"""From this many changed issues on, `since` moves up."""

FULL_READ_EVERY = timedelta(hours=1)
"""A deleted or transferred issue is in no list of updated ones; the pages are read again (304s) to notice."""


@dataclass(frozen=True)
class _Mirror:
    """The labelled issues by number, and from when on changes are followed. Times are GitHub's but `read_at`."""

    issues: dict[int, Issue]
    since: datetime
    started: datetime
    finished: datetime
    page_count: int
    read_at: datetime


def poll_issues(gh: GitHub, label: str, state: State = "open") -> list[Issue]:
    """The issues with the label, by number, without pull requests.

    500 issues: 5 requests the first time. Then one request a poll; it is answered 304 (0 points) from the second
    such poll on while nothing changes, and costs 1 point when something did. Raises GitHubError.
    """
    key = ("mirror", label.casefold(), state)
    with gh.lock:
        polling = gh.memory.setdefault(("polling", *key), threading.Lock())
    with polling:
        mirror: _Mirror | None = gh.memory.get(key)
        fresh = mirror is not None and gh.clock() - mirror.read_at < FULL_READ_EVERY
        followed = _follow(gh, mirror, label, state) if mirror is not None and fresh else None
        mirror = followed or _read(gh, label, state)
        gh.memory[key] = mirror
    return [mirror.issues[number] for number in sorted(mirror.issues)]


def _read(gh: GitHub, label: str, state: State) -> _Mirror:
    """Every page. Ordered by creation: an update in the meantime moves nothing from one page to another."""
    params = {"labels": label, "state": state, "sort": "created", "direction": "asc"}
    times, found = [], dict[int, Issue]()
    for page in pages(gh, f"{gh.base}/issues", params):
        times.append(page.answered_at)
        for item, issue in _issues(page.data):
            if not _has(issue, label):
                raise GitHubError(f"GET {gh.base}/issues: the filter was ignored; has {gh.repo} been renamed?")
            if not _is_pull(item) and _matches(issue, label, state):
                found[issue.number] = issue
    return _Mirror(found, times[0] - OVERLAP, times[0], times[-1], len(times), gh.clock())


def _follow(gh: GitHub, mirror: _Mirror, label: str, state: State) -> _Mirror | None:
    """The mirror with everything applied that was updated since; None when only reading all pages will do."""
    since = f"{mirror.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    params = {"state": "all", "sort": "updated", "direction": "desc", "since": since, "per_page": PER_PAGE}
    page = conditional(gh, f"{gh.base}/issues", params, slot=f"{gh.base}/issues since {label.casefold()} {state}")
    if page.next is not None:
        # A change may hide on the next page (many updates in one second), so even a 304 tells nothing here.
        return None
    if not page.changed:
        return mirror
    items = [(item, issue) for item, issue in _issues(page.data)]
    if any(issue.updated_at < mirror.since.replace(microsecond=0) for _, issue in items):
        raise GitHubError(f"GET {gh.base}/issues: since= was ignored; has {gh.repo} been renamed?")
    issues = dict(mirror.issues)
    for item, issue in items:
        if _matches(issue, label, state) and not _is_pull(item):
            issues[issue.number] = issue
        else:
            issues.pop(issue.number, None)
            if mirror.page_count > 1 and _within(issue, mirror):
                return None
    newest = max((issue.updated_at for _, issue in items), default=mirror.since) - OVERLAP
    return replace(mirror, issues=issues, since=newest if len(items) >= LONG_LIST else mirror.since)


def _within(issue: Issue, mirror: _Mirror) -> bool:
    """An issue that left while the pages were being read moved the rest up by one: the next page lacks one then."""
    second = timedelta(seconds=1)
    return mirror.started - second <= issue.updated_at <= mirror.finished + second


def _issues(data: Any) -> list[tuple[dict[str, Any], Issue]]:
    with expecting("issues"):
        if not isinstance(data, list):
            raise TypeError("no list")
        return [(item, issue_of(item)) for item in data]


def _is_pull(item: dict[str, Any]) -> bool:
    return item.get("pull_request") is not None


def _has(issue: Issue, label: str) -> bool:
    """Label names are equal without regard to case, as on GitHub."""
    return label.casefold() in {name.casefold() for name in issue.labels}


def _matches(issue: Issue, label: str, state: State) -> bool:
    return _has(issue, label) and state in ("all", issue.state)
