"""Who the token is and what it may do, each finding one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agentd.errors import Forbidden, Moved, NotFound, Rejected, Unauthorized
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.model import Decision, Verdict


@dataclass(frozen=True)
class Identity:
    """The account behind the token. An App's installation token has none that it may ask for: all None."""

    login: str | None
    id: int | None
    type: str | None
    scopes: tuple[str, ...] | None
    """A classic token's scopes; None for tokens that have none (fine-grained, App)."""

    def wrote(self, user: dict[str, Any]) -> bool:
        """Whether this account is the author `user`. Unknown ourselves we are an App, and a person is never a Bot."""
        return user.get("type") == "Bot" if self.id is None else user.get("id") == self.id


def whoami(gh: GitHub) -> Identity:
    """The account behind the token; asked once a connection. Raises Unauthorized for a wrong token."""
    known: Identity | None = gh.memory.get("identity")
    if known is None:
        with gh.lock:
            known = gh.memory.setdefault("identity", _ask(gh))
    return known


def _ask(gh: GitHub) -> Identity:
    try:
        with gh.writing():
            answer = gh.request("GET", "/user")
    except (Forbidden, NotFound):
        return Identity(None, None, None, None)
    header = answer.headers.get("x-oauth-scopes")
    scopes = None if header is None else tuple(part.strip() for part in header.split(",") if part.strip())
    with expecting("the token's account"):
        return Identity(str(answer.data["login"]), int(answer.data["id"]), answer.data.get("type") or "User", scopes)


def check_rights(gh: GitHub, base_branch: str) -> list[Verdict]:
    """One Verdict a check (token, repository, rights, base branch); the first `deny` ends the list.

    What a fine-grained token may do cannot be asked: it shows at the first write. Raises Unavailable, RateLimited.
    """
    try:
        me = whoami(gh)
        try:
            repository = gh.request("GET", gh.base).data
        except Moved as moved:
            if not moved.location:
                raise
            repository = gh.request("GET", moved.location).data  # to say its new name
    except Unauthorized as error:
        return [_verdict("token", "deny", str(error), "the token is missing, wrong or expired: set a new one")]
    except (NotFound, Forbidden) as error:
        action = f"{gh.repo} does not exist, or the token may not see it: check the name and the token's repositories"
        return [_verdict("repository", "deny", str(error), action)]
    found = [_verdict("token", "allow", f"{me.login or 'a GitHub App'}")]
    with expecting(gh.base):
        for verdict in (_address(gh, repository), _rights(gh, me, repository)):
            found.append(verdict)
            if verdict.decision is Decision.deny:
                return found
    return [*found, _base(gh, base_branch)]


def _address(gh: GitHub, repository: dict[str, Any]) -> Verdict:
    name = repository["full_name"]
    if name.casefold() != gh.repo.casefold():
        return _verdict("repository", "deny", f"{gh.repo} is now {name}", f"set repo = {name}")
    if repository.get("archived"):
        return _verdict("repository", "deny", f"{name} is archived", "unarchive it: nothing can be written to it")
    if repository.get("has_issues") is False:
        return _verdict("repository", "deny", f"{name} has issues turned off", "turn issues on in its settings")
    return _verdict("repository", "allow", name)


def _rights(gh: GitHub, me: Identity, repository: dict[str, Any]) -> Verdict:
    permissions = repository.get("permissions") or {}
    if permissions.get("push") is False:
        action = f"give {me.login or 'the App'} write access to {gh.repo}"
        return _verdict("write_access", "deny", f"{me.login or 'the App'} may only read {gh.repo}", action)
    needed = ("repo",) if repository.get("private") else ("repo", "public_repo")
    if me.scopes is not None and not set(needed) & set(me.scopes):
        observed = f"the token's scopes are: {', '.join(me.scopes) or 'none'}"
        return _verdict("write_access", "deny", observed, f"make a token with the scope {' or '.join(needed)}")
    return _verdict("write_access", "allow", "the account may push")


def _base(gh: GitHub, base_branch: str) -> Verdict:
    try:
        gh.request("GET", f"{gh.base}/git/ref/heads/{quote(base_branch)}")
    except (NotFound, Rejected) as error:
        # 409: the repository has no commit at all.
        action = f"{gh.repo} has no branch {base_branch}: push it, or set base_branch"
        return _verdict("base_branch", "deny", str(error), action)
    return _verdict("base_branch", "allow", base_branch)


def _verdict(rule_id: str, decision: str, observed: str, action: str = "") -> Verdict:
    return Verdict(
        control="github",
        rule_id=rule_id,
        decision=Decision(decision),
        scope="repository",
        observed=observed,
        action=action,
    )
