"""Pull requests: made once for a head branch, found again, followed; and the branch that is left over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from agentd.errors import NotFound, Rejected
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.conditional import PER_PAGE, conditional, pages
from agentd.github.issues import TITLE_LIMIT
from agentd.github.text import cut, one_line
from agentd.github.writes import make_once
from agentd.model import Frozen


class Pull(Frozen):
    """A pull request as observed. Text is untrusted."""

    number: int
    url: str
    """for people: the page"""
    head_ref: str
    head_sha: str
    head_repo: str
    """owner/name; empty when the fork is gone"""
    base: str
    state: Literal["open", "closed"]
    merged: bool
    merged_at: datetime | None
    title: str
    body: str
    draft: bool
    mergeable: bool | None
    """None while GitHub has not worked it out, and in lists"""
    updated_at: datetime


def pull_of(data: dict[str, Any]) -> Pull:
    """GitHub's JSON as our noun. Lists have no `merged`: `merged_at` tells. KeyError, TypeError, ValueError."""
    return Pull(
        number=data["number"],
        url=data["html_url"],
        head_ref=data["head"]["ref"],
        head_sha=data["head"]["sha"],
        head_repo=(data["head"].get("repo") or {}).get("full_name") or "",
        base=data["base"]["ref"],
        state=data["state"],
        merged=data.get("merged_at") is not None,
        merged_at=data.get("merged_at"),
        title=data["title"] or "",
        body=data.get("body") or "",
        draft=bool(data.get("draft")),
        mergeable=data.get("mergeable"),
        updated_at=data["updated_at"],
    )


def find_pulls(gh: GitHub, head: str, state: Literal["open", "closed", "all"] = "open") -> list[Pull]:
    """The pull requests whose head is this branch of this repository, newest first. Raises GitHubError."""
    params = {"head": f"{gh.repo.split('/')[0]}:{head}", "state": state}
    found = [pull for page in pages(gh, f"{gh.base}/pulls", params) for pull in _pulls(page.data)]
    return [pull for pull in found if _is_head(gh, pull, head) and state in ("all", pull.state)]


def ensure_pull(gh: GitHub, head_branch: str, base: str, title: str, body: str, draft: bool = False) -> Pull:
    """The one open pull request of the branch, saying this; made if there is none, edited if it says something else.

    `draft` counts only when it is made. Raises Rejected (for example "No commits between ...") and GitHubError.
    """
    title, body = one_line(title, TITLE_LIMIT), cut(body)

    def look() -> Pull | None:
        return next(iter(find_pulls(gh, head_branch)), None)

    def make() -> Pull:
        made = gh.repository().create_pull(base, head_branch, title=title, body=body, draft=draft)
        with expecting("the new pull request"):
            return pull_of(made.raw_data)

    pull, made = make_once(gh, look, make)
    wanted = {"title": title, "body": body, "base": base}
    there = {"title": pull.title, "body": pull.body.replace("\r\n", "\n"), "base": pull.base}
    if made or all(text.strip() == there[name].strip() for name, text in wanted.items()):
        return pull
    with expecting(f"pull request {pull.number}"):
        gh.pull(pull.number).edit(title=title, body=body, base=base)
    return pull.model_copy(update=wanted)


def pull_state(gh: GitHub, number: int) -> Pull:
    """The pull request as it is now; `mergeable` may be None: ask again later. Raises NotFound, GitHubError."""
    with expecting(f"pull request {number}"):
        return pull_of(gh.request("GET", f"{gh.base}/pulls/{number}").data)


def recently_changed_pulls(gh: GitHub) -> list[Pull]:
    """The 100 pull requests that changed last, newest first: one request, 304 (free) when nothing changed."""
    params = {"state": "all", "sort": "updated", "direction": "desc", "per_page": PER_PAGE}
    return _pulls(conditional(gh, f"{gh.base}/pulls", params).data)


def recently_closed_pulls(gh: GitHub) -> list[Pull]:
    """Those of `recently_changed_pulls` that are closed or merged, for the reconciler; the same single request."""
    return [pull for pull in recently_changed_pulls(gh) if pull.state == "closed"]


def merged_pulls_since(gh: GitHub, since: datetime) -> list[Pull]:
    """All merged at `since` or later, however many; reads back until the updates are older. Raises GitHubError."""
    merged = []
    for page in pages(gh, f"{gh.base}/pulls", {"state": "closed", "sort": "updated", "direction": "desc"}):
        found = _pulls(page.data)
        merged += [pull for pull in found if pull.merged_at is not None and pull.merged_at >= since]
        if found and found[-1].updated_at < since:
            break
    return merged


def delete_branch(gh: GitHub, name: str, expected_sha: str) -> bool:
    """Deletes the branch if it still is at this commit; whether it was there. One that is gone is a success.

    Raises Rejected when it has moved (somebody's work would be lost) or is protected. GitHub cannot compare and
    delete in one step, so a push between the two requests is not seen.
    """
    with gh.writing():
        there = _branch_sha(gh, name)
        if there is None:
            return False
        if there != expected_sha:
            raise Rejected(f"branch {name} is at {there[:12]}, expected {expected_sha[:12]}: it is left alone", 409)
        try:
            # Not PyGithub's ref.delete(): a lazy ref asks for .../git/ref/..., which GitHub does not have.
            gh.request("DELETE", f"{gh.base}/git/refs/heads/{quote(name)}")
        except (NotFound, Rejected):
            if _branch_sha(gh, name) is not None:
                raise
            return False
    return True


def _branch_sha(gh: GitHub, name: str) -> str | None:
    try:
        with expecting(f"branch {name}"):
            answer = gh.request("GET", f"{gh.base}/git/ref/heads/{quote(name)}")
            if answer.data["ref"] != f"refs/heads/{name}":
                raise ValueError(f"asked for refs/heads/{name}, got {answer.data['ref']}")
            return str(answer.data["object"]["sha"])
    except NotFound:
        return None


def _is_head(gh: GitHub, pull: Pull, head: str) -> bool:
    """A fork may have a branch of the same name."""
    return pull.head_ref == head and pull.head_repo.casefold() == gh.repo.casefold()


def _pulls(data: Iterable[dict[str, Any]]) -> list[Pull]:
    with expecting("pull requests"):
        return [pull_of(item) for item in data]
