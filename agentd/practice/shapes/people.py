"""Users."""

from __future__ import annotations

from functools import lru_cache

from agentd.practice.shapes.view import View, stamp
from agentd.practice.world import Json, Repo, User

LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def simple_user(view: View, user: User) -> Json:
    """The short form, which stands in other things."""
    return short_form(view, user.id, user.login, user.type)


@lru_cache(maxsize=1024)
def short_form(view: View, id: int, login: str, type: str) -> Json:
    """Remembered, because a list of issues has it hundreds of times; never changed by those who show it."""
    address = view.api(f"/users/{login}")
    return {
        "login": login,
        "id": id,
        "node_id": f"U_{id}",
        "avatar_url": view.html(f"/avatars/{id}"),
        "gravatar_id": "",
        "url": address,
        "html_url": view.html(f"/{login}"),
        **{name: address + path for name, path in LINKS.items()},
        "type": type,
        "user_view_type": "public",
        "site_admin": False,
    }


def maybe_user(view: View, user: User | None) -> Json | None:
    return None if user is None else simple_user(view, user)


def full_user(view: View, user: User) -> Json:
    nothing = dict.fromkeys(("company", "location", "email", "hireable", "bio", "twitter_username"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    times = {"created_at": stamp(user.created_at), "updated_at": stamp(user.created_at)}
    return {**simple_user(view, user), "name": user.name, "blog": "", **nothing, **counts, **times}


def association(repo: Repo, user: User) -> str:
    """How a user stands to a repository, in GitHub's word."""
    if user is repo.owner:
        return "OWNER"
    return "COLLABORATOR" if repo.roles.get(user.login.lower(), "none") != "none" else "NONE"
