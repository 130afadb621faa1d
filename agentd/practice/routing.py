"""What a handler gets and gives, and the table of all handlers."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from agentd.practice.refusal import Refused, invalid, moved, no_access, not_found
from agentd.practice.shapes.view import View
from agentd.practice.world import Issue, Json, Pull, Repo, Token, User, World

T = TypeVar("T")
MOST_PER_PAGE = 100


@dataclass
class Call:
    """One request, authenticated, its repository looked up."""

    world: World
    view: View
    method: str
    path: str
    args: dict[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    user: User | None
    token: Token | None
    found_repo: Repo | None = None

    @property
    def repo(self) -> Repo:
        assert self.found_repo is not None
        return self.found_repo

    @property
    def actor(self) -> User:
        if self.user is None:
            raise Refused(401, "Requires authentication")
        return self.user

    @property
    def json(self) -> Json:
        """The body as an object; nothing sent is an empty one."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise Refused(
                422, "Invalid request.\n\nFor 'links/0/schema', " + repr(self.body)[:80] + " is not an object."
            )
        return self.body

    def required(self, name: str, kind: type[T]) -> T:
        """A field of the body that must be there and of this type."""
        value = self.json.get(name)
        if value is None:
            raise Refused(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted = {str: "a string", int: "an integer", list: "an array", dict: "an object"}.get(kind, kind.__name__)
            raise Refused(422, f"Invalid request.\n\nFor 'properties/{name}', {value!r} is not {wanted}.")
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """A field of the body that may be missing or null, else of this type."""
        return None if self.json.get(name) is None else self.required(name, kind)

    def int(self, name: str) -> int:
        return int(self.args[name])

    def issue(self) -> Issue:
        """The issue or pull request {number}; 404, 410 when it was deleted, a redirect when it was transferred."""
        issue = self.repo.issues.get(self.int("number"))
        if issue is None:
            raise not_found()
        if (other := issue.transferred_to) is not None:
            if not self.world.allows(other.repo, self.user, "read"):
                raise not_found()
            address = self.view.api(f"/repositories/{other.repo.id}/issues/{other.number}")
            raise moved(address, self.method)
        if issue.deleted:
            raise Refused(410, "This issue was deleted")
        return issue

    def pull(self) -> tuple[Issue, Pull]:
        issue = self.issue()
        if issue.pull is None:
            raise not_found()
        return issue, issue.pull

    def allowed(self, need: str) -> bool:
        """Whether user and token together may do what the role `need` may."""
        readable = need == "read" or not (self.token is None or self.token.read_only)
        return readable and self.world.allows(self.repo, self.user, need)

    def demand(self, need: str) -> None:
        if not self.allowed(need):
            raise no_access()

    def since(self, name: str = "since") -> datetime | None:
        text = self.query.get(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise invalid("Issue", name) from None
        return found if found.tzinfo else found.replace(tzinfo=self.world.now().tzinfo)


@dataclass
class Reply:
    """An answer: `data` becomes JSON, unless it is bytes or None."""

    data: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    modified: datetime | None = None


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    method: str
    template: str
    """As in GitHub's description; {path*} takes slashes too."""
    pattern: re.Pattern[str]
    need: str
    handler: Handler


ROUTES: dict[tuple[str, str], list[Route]] = {}
"""By method and the path segment that tells most: the one after /repos/{owner}/{repo}, else the first.

The most particular come first."""


def route(method: str, template: str, need: str = "read") -> Callable[[Handler], Handler]:
    """Registers a handler. `need` is the role in the repository, read for what any signed-in user may do."""

    def segment(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.endswith("*"):
            return f"(?P<{name[:-1]}>.+)"
        return f"(?P<{name}>{r'[0-9]+' if name.endswith(('number', '_id')) else '[^/]+'})"

    def register(handler: Handler) -> Handler:
        pattern = re.compile(re.sub(r"\{([a-z_]+\*?)\}", segment, template))
        key = (method, bucket_of(template))
        routes = ROUTES.setdefault(key, [])
        routes.append(Route(method, template, pattern, need, handler))
        routes.sort(key=lambda each: (each.template.count("*"), -len(each.template)))
        return handler

    return register


def on_repo(method: str, template: str, need: str = "read") -> Callable[[Handler], Handler]:
    """Registers a handler for a path under /repos/{owner}/{repo}."""
    return route(method, "/repos/{owner}/{repo}" + template, need)


def bucket_of(path: str) -> str:
    parts = path.split("/")
    if parts[1] == "repos":
        return "repos/" + (parts[4] if len(parts) > 4 else "")
    return parts[1]


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path and what its variables stand for."""
    for candidate in ROUTES.get((method, bucket_of(path)), ()):
        match = candidate.pattern.fullmatch(path)
        if match:
            return candidate, match.groupdict()
    return None


def paged(call: Call, items: Sequence[T], render: Callable[[T], Any], key: str | None = None, **around: Any) -> Reply:
    """One page of a list with its Link header; under `key` in an object with a total, when GitHub does so there."""
    per_page = whole(call.query.get("per_page"), 30, MOST_PER_PAGE)
    page = whole(call.query.get("page"), 1, None)
    last = max(1, math.ceil(len(items) / per_page))
    shown = [render(item) for item in items[(page - 1) * per_page : page * per_page]]
    links = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page >= last:
        del links["next"], links["last"]
    if page <= 1:
        del links["prev"], links["first"]
    headers = {}
    if links:
        path = call.path
        if call.found_repo is not None:
            path = re.sub(r"^/repos/[^/]+/[^/]+", f"/repositories/{call.repo.id}", path)
        address = call.view.api(path)
        headers["Link"] = ", ".join(
            f'<{address}?{urlencode({**call.query, "page": number})}>; rel="{name}"' for name, number in links.items()
        )
    data: Any = shown if key is None else {"total_count": len(items), **around, key: shown}
    return Reply(data, headers=headers)


def whole(text: str | None, default: int, most: int | None) -> int:
    """A positive number of the query; GitHub puts nonsense right silently."""
    number = int(text) if text and text.isdigit() else default
    return max(1, number if most is None else min(number, most)) if number else default
