"""Issues one at a time: read, create once, close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from agentd.errors import NotFound
from agentd.github import identity
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.conditional import pages
from agentd.github.labels import our_name
from agentd.github.text import cut, one_line
from agentd.github.writes import make_once
from agentd.model import Issue

TITLE_LIMIT = 256


def issue_of(data: dict[str, Any]) -> Issue:
    """GitHub's JSON as our noun; a deleted author gives an empty name and id 0. KeyError, TypeError, ValueError."""
    user = data.get("user") or {}
    return Issue(
        number=data["number"],
        title=data["title"] or "",
        body=data.get("body") or "",
        state=data["state"],
        state_reason=data.get("state_reason"),
        labels=tuple(our_name(label if isinstance(label, str) else label["name"]) for label in data["labels"]),
        author=user.get("login") or "",
        author_id=user.get("id") or 0,
        comments=data.get("comments") or 0,
        created_at=data["created_at"],
        updated_at=data["updated_at"],
        html_url=data.get("html_url") or "",
    )


def get_issue(gh: GitHub, number: int) -> Issue:
    """The issue as it is now. Raises NotFound (also when it was deleted: 410) and the other GitHubErrors."""
    with expecting(f"issue {number}"):
        return issue_of(gh.request("GET", f"{gh.base}/issues/{number}").data)


def blockers(gh: GitHub, number: int) -> list[Issue]:
    """The issues that block this one, by GitHub's own dependencies, open and closed; 304 (free) when unchanged.

    Empty where the server does not know dependencies. Raises GitHubError.
    """
    try:
        found = [item for page in pages(gh, f"{gh.base}/issues/{number}/dependencies/blocked_by") for item in page.data]
    except NotFound:
        return []
    with expecting(f"blockers of issue {number}"):
        return [issue_of(item) for item in found]


def find_issue(gh: GitHub, *, title: str, marker: str = "") -> Issue | None:
    """The oldest issue of any state with our marker in its body, or without a marker with exactly this title.

    A marker counts only in an issue that we wrote. All pages are read (304 when unchanged): GitHub's search lags
    behind a write by seconds to minutes.
    """
    me = identity.whoami(gh)
    wanted = one_line(title, TITLE_LIMIT)
    params = {"state": "all", "sort": "created", "direction": "asc"}
    for page in pages(gh, f"{gh.base}/issues", params):
        with expecting("issues"):
            for item in page.data:
                if item.get("pull_request") is not None:
                    continue
                ours = bool(marker) and me.wrote(item.get("user") or {}) and marker in (item.get("body") or "")
                if ours or (not marker and item["title"] == wanted):
                    return issue_of(item)
    return None


def create_issue(gh: GitHub, title: str, body: str, labels: Sequence[str] = (), *, marker: str = "") -> Issue:
    """The issue, made at most once: an earlier one with the marker (or the title) is returned as it is.

    `marker` is any text, best an HTML comment, that is put into the body. Raises GitHubError.
    """
    wanted = one_line(title, TITLE_LIMIT)
    text = cut(body if not marker or marker in body else f"{body}\n\n{marker}", keep=marker)

    def make() -> Issue:
        made = gh.repository().create_issue(wanted, body=text, labels=list(labels))
        with expecting("the new issue"):
            return issue_of(made.raw_data)

    return make_once(gh, lambda: find_issue(gh, title=title, marker=marker), make)[0]


def close_issue(gh: GitHub, number: int, reason: Literal["completed", "not_planned"] = "completed") -> bool:
    """Closes the issue; whether a write was needed. One that is closed already keeps its reason."""
    with gh.writing():
        if get_issue(gh, number).state == "closed":
            return False
        with expecting(f"closing issue {number}"):
            gh.issue(number).edit(state="closed", state_reason=reason)
    return True
