"""What an HTTP answer means: every failure becomes one of `agentd.errors`, with one line that names the request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from github.GithubException import BadAttributeException, GithubException

from agentd.errors import (
    Forbidden,
    GitHubError,
    Moved,
    NotFound,
    RateLimited,
    Rejected,
    Unauthorized,
    Unavailable,
)
from agentd.github.limits import Headers, limit_kind, retry_at

MESSAGE_LIMIT = 300
"""Characters of GitHub's own message that are kept."""

BY_STATUS: dict[int, type[GitHubError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Rejected,
    409: Rejected,
    410: NotFound,
    422: Rejected,
}


def error_of(
    request: str, status: int, headers: Headers, text: str, now: datetime, read: bool = True
) -> GitHubError | None:
    """The error that an answer stands for, or None when it is good. `request` is "GET /repos/o/r".

    A good status with a body that is no JSON object or list comes from something between us and GitHub: for a
    write that is `Unavailable`, because whether it happened is unknown.
    """
    if status == 304 or status == 204:
        return None
    if 200 <= status < 300:
        if is_json(text):
            return None
        kind = GitHubError if read else Unavailable
        return kind(f"{request}: {status} with a body that is no JSON; is the API address right?", status)
    message = message_of(text)
    line = f"{request}: {status} {message}".rstrip()
    if 300 <= status < 400:
        moved = Moved(f"{line}; the repository has moved, set its new name", status)
        moved.location = _url_of(text)
        return moved
    limit = limit_kind(status, headers, message)
    if limit is not None:
        moment = retry_at(limit, headers, now)
        return RateLimited(f"{line} ({limit} rate limit, again at {moment:%H:%M:%S} UTC)", moment, limit, status)
    if status >= 500:
        return Unavailable(line, status)
    return BY_STATUS.get(status, GitHubError)(line, status)


def is_json(text: str) -> bool:
    """Whether the text is a JSON object or list, or empty. A JSON string would be iterated as if it were a list."""
    try:
        return not text or isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def message_of(text: str) -> str:
    """GitHub's message and the codes of its `errors`, on one line; the first characters of anything else."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if isinstance(data, dict):
        parts = [data.get("message"), *map(_detail, _listed(data.get("errors")))]
        text = "; ".join(str(part) for part in parts if part)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MESSAGE_LIMIT]


def _url_of(text: str) -> str:
    try:
        return str(json.loads(text)["url"])
    except (ValueError, TypeError, KeyError):
        return ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _detail(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    return str(error.get("message") or " ".join(str(error[k]) for k in ("resource", "field", "code") if error.get(k)))


@contextmanager
def expecting(what: str) -> Iterator[None]:
    """Turns a good answer of the wrong shape into a `GitHubError` that says what was being read."""
    try:
        yield
    except GitHubError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, BadAttributeException) as error:
        raise GitHubError(
            f"{what}: GitHub's answer has an unexpected shape ({type(error).__name__}: {error})"
        ) from error
    except (GithubException, AssertionError) as error:
        raise GitHubError(f"{what}: PyGithub could not use the answer ({type(error).__name__}: {error})") from error
