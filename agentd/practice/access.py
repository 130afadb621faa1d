"""Who is asking, and may they."""

from __future__ import annotations

import base64
import binascii

from agentd.practice.refusal import Refused, no_access, not_found
from agentd.practice.routing import Call, Route
from agentd.practice.world import Token, World

CHALLENGE = {"WWW-Authenticate": 'Basic realm="GitHub"'}


def token_of(world: World, authorization: str | None) -> Token | None:
    """The token of an Authorization header (token, Bearer or Basic); None for none. Refused when it is unknown."""
    if not authorization:
        return None
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        value = basic_secret(world, value.strip())
    elif scheme.lower() not in ("token", "bearer"):
        return None
    token = world.tokens.get(value.strip())
    if token is None:
        raise Refused(401, "Bad credentials")
    return token


def basic_secret(world: World, encoded: str) -> str:
    """The token in a Basic header: the password, or the user name, as git remotes are written both ways."""
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return name if name in world.tokens else password


def check_route(call: Call, route: Route) -> None:
    """Refuses what GitHub refuses before a handler is asked: unseen repositories, missing scopes and roles."""
    repo, writes = call.found_repo, call.method not in ("GET", "HEAD")
    if repo is not None and not (call.world.allows(repo, call.user, "read") and sees(call)):
        raise not_found()
    if not writes and route.need == "read":
        return
    if call.token is None:
        raise Refused(401, "Requires authentication")
    if repo is None or route.need == "none":
        return
    if writes and call.token.read_only:
        raise no_access()
    if writes and not in_scope(call.token, repo.private):
        raise Refused(404, "Not Found", headers={"X-Accepted-OAuth-Scopes": "repo"})
    if not call.world.allows(repo, call.user, route.need):
        raise no_access()


def sees(call: Call) -> bool:
    """Whether the token shows its user the repository: a private one only with the scope `repo`."""
    return not call.repo.private or (call.token is not None and in_scope(call.token, True))


def in_scope(token: Token, private: bool) -> bool:
    return token.read_only or "repo" in token.scopes or (not private and "public_repo" in token.scopes)
