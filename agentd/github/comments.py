"""Comments: the one sticky comment that agentd keeps on an issue, found again by its marker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from github.IssueComment import IssueComment

from agentd.errors import NotFound
from agentd.github import identity
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.conditional import pages
from agentd.github.text import cut
from agentd.github.writes import make_once
from agentd.model import Comment

MARKER_PREFIX = "<!-- agentd:"
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/@]|-(?!-|>))*")


def marker_of(key: str) -> str:
    """`<!-- agentd:KEY -->`. ValueError for a key that would end the HTML comment."""
    if not _KEY.fullmatch(key) or key.endswith("-"):
        raise ValueError(f"{key!r} cannot be a comment's marker: letters, digits and . _ : / @ - only")
    return f"{MARKER_PREFIX}{key} -->"


def comment_of(data: dict[str, Any]) -> Comment:
    """GitHub's JSON as our noun; a deleted author gives an empty name and id 0. KeyError, TypeError, ValueError."""
    user = data.get("user") or {}
    return Comment(
        id=data["id"],
        author=user.get("login") or "",
        author_id=user.get("id") or 0,
        author_type=user.get("type") or "",
        author_association=data.get("author_association") or "NONE",
        body=data.get("body") or "",
        created_at=data["created_at"],
        updated_at=data["updated_at"],
    )


def issue_comments(gh: GitHub, issue_number: int) -> Iterator[Comment]:
    """All comments, oldest first; 304 (free) for pages that did not change. Raises GitHubError."""
    for page in pages(gh, f"{gh.base}/issues/{issue_number}/comments"):
        with expecting(f"comments of issue {issue_number}"):
            yield from [comment_of(item) for item in page.data]


def upsert_sticky(gh: GitHub, issue_number: int, key: str, body: str) -> int:
    """Makes our comment with this key say `body`; its id. Works on pull requests too.

    Looks for the marker among our own comments only: anybody can write the marker. Edits when the text differs, makes
    the comment when there is none. Longer bodies are cut to what GitHub takes. Raises GitHubError.
    """
    marker = marker_of(key)
    text = cut(f"{marker}\n{body}")

    def make() -> tuple[int, str]:
        made = gh.issue(issue_number).create_comment(text)
        with expecting("the new comment"):
            return int(made.raw_data["id"]), text

    for _ in range(2):
        (comment_id, there), made = make_once(gh, lambda: _find(gh, issue_number, marker), make)
        if made or _same(there, text):
            return comment_id
        try:
            handle = IssueComment(gh.requester, {}, {"url": f"{gh.base}/issues/comments/{comment_id}"}, False)
            with expecting(f"comment {comment_id}"):
                handle.edit(text)
            return comment_id
        except NotFound:
            # Somebody deleted it between the look and the edit.
            continue
    raise NotFound(f"the comment {marker} on issue {issue_number} disappears as soon as it is written", 404)


def _find(gh: GitHub, issue_number: int, marker: str) -> tuple[int, str] | None:
    me = identity.whoami(gh)
    for comment in issue_comments(gh, issue_number):
        author = {"id": comment.author_id, "type": comment.author_type}
        if comment.body.startswith(marker) and me.wrote(author):
            return comment.id, comment.body
    return None


def _same(there: str, text: str) -> bool:
    return there.replace("\r\n", "\n").strip() == text.strip()
