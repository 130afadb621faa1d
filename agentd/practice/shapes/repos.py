"""Repositories."""

from __future__ import annotations

from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.view import View, stamp
from agentd.practice.world import ROLES, Json, Repo, User, World

LINKS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "contributors": "/contributors",
    "deployments": "/deployments",
    "downloads": "/downloads",
    "events": "/events",
    "forks": "/forks",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "hooks": "/hooks",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "languages": "/languages",
    "merges": "/merges",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "stargazers": "/stargazers",
    "statuses": "/statuses/{sha}",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "tags": "/tags",
    "teams": "/teams",
    "trees": "/git/trees{/sha}",
}
COUNTS = ("forks_count", "forks", "stargazers_count", "watchers_count", "watchers", "size")
HAS = {"has_issues": True, "has_projects": True, "has_wiki": True, "has_downloads": True}
NOT = ("has_pages", "has_discussions", "archived", "disabled", "is_template", "web_commit_signoff_required")
SETTINGS = {
    "allow_squash_merge": True,
    "allow_merge_commit": True,
    "allow_rebase_merge": True,
    "allow_auto_merge": False,
    "delete_branch_on_merge": False,
    "allow_update_branch": False,
}
ROLE_NAMES = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}


def minimal_repository(view: View, repo: Repo) -> Json:
    """Names and links only; what check suites and the like carry."""
    address = view.api(f"/repos/{repo.full_name}")
    return {
        "id": repo.id,
        "node_id": f"R_{repo.id}",
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": simple_user(view, repo.owner),
        "html_url": view.html(f"/{repo.full_name}"),
        "description": repo.description,
        "fork": repo.fork_of is not None,
        "url": address,
        **{f"{name}_url": address + path for name, path in LINKS.items()},
    }


def repository(view: View, world: World, repo: Repo, user: User | None = None) -> Json:
    """The form in lists, pull requests and webhooks; with `permissions` for a user."""
    clone = view.html(f"/{repo.full_name}.git")
    open_issues = sum(issue.state == "open" for issue in repo.visible_issues())
    shown = minimal_repository(view, repo) | {
        "clone_url": clone,
        "git_url": clone.replace("http://", "git://").replace("https://", "git://"),
        "ssh_url": f"git@{view.origin.split('//')[-1]}:{repo.full_name}.git",
        "svn_url": view.html(f"/{repo.full_name}"),
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "topics": [],
        "default_branch": repo.default_branch,
        "visibility": "private" if repo.private else "public",
        "open_issues_count": open_issues,
        "open_issues": open_issues,
        "created_at": stamp(repo.created_at),
        "updated_at": stamp(repo.updated_at),
        "pushed_at": stamp(repo.pushed_at),
        "allow_forking": True,
        **dict.fromkeys(COUNTS, 0),
        **HAS,
        **dict.fromkeys(NOT, False),
        **{name: value for name, value in repo.settings.items() if name in HAS},
    }
    if user is not None:
        reached = ROLES.index(world.role(repo, user))
        shown["permissions"] = {name: reached >= ROLES.index(role) for name, role in ROLE_NAMES.items()}
    return shown


def full_repository(view: View, world: World, repo: Repo, user: User | None) -> Json:
    """The answer of GET /repos/{owner}/{repo}; merge settings only for those who may push, as on GitHub."""
    shown = repository(view, world, repo, user) | {"network_count": 0, "subscribers_count": 0}
    if user is not None and world.allows(repo, user, "write"):
        shown |= SETTINGS | {name: value for name, value in repo.settings.items() if name in SETTINGS}
    if repo.fork_of is not None:
        shown["parent"] = shown["source"] = repository(view, world, repo.fork_of)
    return shown
