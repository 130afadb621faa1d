"""What the practice GitHub remembers: people, repositories, issues. Everything about git is in the bare repositories.

All of it is changed on the server's event loop only, so there are no locks here but one a repository, which
serialises the writes that have to wait for git.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentd.practice.bare import BareRepository
from agentd.practice.faults import Fault
from agentd.practice.limits import Limits
from agentd.practice.log import RequestRecord
from agentd.practice.switches import Config

Json = dict[str, Any]
ROLES = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass
class User:
    id: int
    login: str
    type: str
    created_at: datetime
    name: str | None = None


@dataclass
class Token:
    value: str
    user: User
    scopes: tuple[str, ...]
    read_only: bool
    """A fine-grained token without write permissions; GitHub shows no scopes for those."""


@dataclass
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None
    default: bool = False


@dataclass
class Milestone:
    id: int
    number: int
    title: str
    creator: User
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    state: str = "open"
    due_on: str | None = None
    closed_at: datetime | None = None


@dataclass
class Reaction:
    id: int
    user: User
    content: str
    created_at: datetime


@dataclass
class Comment:
    id: int
    user: User
    body: str
    created_at: datetime
    updated_at: datetime
    edited_at: datetime | None = None
    reactions: list[Reaction] = field(default_factory=list)


@dataclass
class Event:
    id: int
    event: str
    actor: User
    created_at: datetime
    commit_id: str | None = None
    extra: Json = field(default_factory=dict)
    """What the event names: label, assignee, milestone, rename, source ... as state, rendered when asked for."""


@dataclass
class Review:
    id: int
    user: User
    body: str
    state: str
    commit_id: str
    submitted_at: datetime | None


@dataclass
class ReviewComment:
    id: int
    user: User
    body: str
    path: str
    commit_id: str
    created_at: datetime
    updated_at: datetime
    line: int | None = None
    side: str = "RIGHT"
    review_id: int | None = None
    in_reply_to: int | None = None
    diff_hunk: str = "@@"
    reactions: list[Reaction] = field(default_factory=list)


@dataclass
class Pull:
    id: int
    head_repo: Repo
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool = False
    maintainer_can_modify: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    reviews: list[Review] = field(default_factory=list)
    review_comments: list[ReviewComment] = field(default_factory=list)
    requested: list[User] = field(default_factory=list)
    nulls_shown: tuple[str, str, int] = ("", "", 0)
    """Head and base for which `mergeable` was answered with null, and how often: GitHub works it out late."""


@dataclass
class Issue:
    id: int
    number: int
    user: User
    title: str
    body: str | None
    created_at: datetime
    updated_at: datetime
    labels: list[Label] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    milestone: Milestone | None = None
    state: str = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: User | None = None
    locked: bool = False
    lock_reason: str | None = None
    deleted: bool = False
    transferred_to: Issue | None = None
    edits: list[tuple[datetime, User, str | None]] = field(default_factory=list)
    """Edits of the body: when, by whom, the body before."""
    comments: list[Comment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    blocked_by: list[Issue] = field(default_factory=list)
    blocking: list[Issue] = field(default_factory=list)
    sub_issues: list[Issue] = field(default_factory=list)
    parent: Issue | None = None
    pull: Pull | None = None
    repo: Repo = field(init=False, repr=False)


@dataclass
class Webhook:
    id: int
    url: str
    secret: str | None
    events: tuple[str, ...]
    created_at: datetime
    active: bool = True


@dataclass
class Repo:
    id: int
    owner: User
    name: str
    git: BareRepository
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime
    private: bool = False
    default_branch: str = "main"
    description: str | None = None
    settings: Json = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    """By lower-case name: GitHub compares label names without case."""
    milestones: dict[int, Milestone] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    statuses: dict[str, list[Json]] = field(default_factory=dict)
    check_runs: list[Json] = field(default_factory=list)
    check_suites: list[Json] = field(default_factory=list)
    protections: dict[str, Json] = field(default_factory=dict)
    hooks: dict[int, Webhook] = field(default_factory=dict)
    fork_of: Repo | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def number(self) -> int:
        """The next free issue or pull request number."""
        return max(self.issues, default=0) + 1

    def visible_issues(self) -> list[Issue]:
        """Issues and pull requests, oldest first, without deleted ones."""
        return [issue for issue in self.issues.values() if not issue.deleted]

    def pulls(self) -> list[tuple[Issue, Pull]]:
        return [(issue, issue.pull) for issue in self.visible_issues() if issue.pull is not None]


class World:
    """Everything there is in one practice GitHub."""

    def __init__(self, root: Path, clock: Callable[[], datetime] | None) -> None:
        self.root = root
        self.clock = clock or (lambda: datetime.now(UTC))
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, Repo] = {}
        """Old full names of renamed repositories, lower case."""
        self.config = Config()
        self.limits = Limits()
        self.faults: list[Fault] = []
        self.log: list[RequestRecord] = []
        self.deliveries: list[Json] = []
        """Every webhook delivery: event, action, url, status (None while or when it failed), payload."""
        self.origin = ""
        """Scheme, host and port once the server listens; addresses in webhook payloads start with it."""
        self.outbox: list[tuple[Webhook, str, Json]] = []
        self.sending: set[asyncio.Task[None]] = set()
        """Deliveries under way."""
        self._ids = itertools.count(3_000_000_001)
        """Beyond 32 bits, as GitHub's are."""
        self._user_ids = itertools.count(1001)

    def now(self) -> datetime:
        """The clock's time with GitHub's precision, one second."""
        return self.clock().astimezone(UTC).replace(microsecond=0)

    def next_id(self) -> int:
        return next(self._ids)

    def add_user(self, login: str, id: int | None = None, type: str = "User") -> User:
        """The user; a login that exists keeps its id."""
        known = self.users.get(login.lower())
        if known is None:
            taken = {user.id for user in self.users.values()}
            fresh = next(number for number in self._user_ids if number not in taken)
            known = User(fresh if id is None else id, login, type, self.now())
            self.users[login.lower()] = known
        return known

    def add_token(self, login: str, scopes: tuple[str, ...], read_only: bool, value: str | None = None) -> Token:
        token = Token(value or f"ghp_{secrets.token_hex(18)}", self.add_user(login), tuple(scopes), read_only)
        self.tokens[token.value] = token
        return token

    def repo(self, full_name: str) -> Repo:
        """The repository under its present or an old name; KeyError when there is none."""
        key = full_name.lower()
        return self.repos.get(key) or self.moved[key]

    def repo_by_id(self, id: int) -> Repo | None:
        return next((repo for repo in self.repos.values() if repo.id == id), None)

    def role(self, repo: Repo, user: User | None) -> str:
        """What a user may do in a repository: one of ROLES; a public repository is readable by all."""
        floor = "none" if repo.private else "read"
        if user is None:
            return floor
        if user is repo.owner:
            return "admin"
        return repo.roles.get(user.login.lower(), floor)

    def allows(self, repo: Repo, user: User | None, need: str) -> bool:
        return ROLES.index(self.role(repo, user)) >= ROLES.index(need)
