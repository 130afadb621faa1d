"""Commits, branches, refs, files."""

from __future__ import annotations

import re
from urllib.parse import quote

from agentd.practice.bare import Signature
from agentd.practice.history import Commit, FileChange
from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.view import View, stamp
from agentd.practice.world import Json, Repo, User, World

UNVERIFIED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
NOREPLY = "{id}+{login}@users.noreply.github.com"


def person(signature: Signature) -> Json:
    return {"name": signature.name, "email": signature.email, "date": stamp(signature.at)}


def signature_of(user: User, world: World) -> Signature:
    """Under whose name the server itself makes commits."""
    return Signature(user.name or user.login, NOREPLY.format(id=user.id, login=user.login), world.now())


def user_of(world: World, signature: Signature) -> User | None:
    """The user whose private address this is."""
    match = re.fullmatch(r"(?:[0-9]+\+)?([^@+]+)@users\.noreply\.github\.com", signature.email)
    return world.users.get(match[1].lower()) if match else None


def git_commit_json(view: View, repo: Repo, commit: Commit) -> Json:
    """As the git database API shows it."""
    home, page = view.api(f"/repos/{repo.full_name}/git"), view.html(f"/{repo.full_name}")
    return {
        "sha": commit.sha,
        "node_id": f"C_{commit.sha}",
        "url": f"{home}/commits/{commit.sha}",
        "html_url": f"{page}/commit/{commit.sha}",
        "author": person(commit.author),
        "committer": person(commit.committer),
        "tree": {"sha": commit.tree, "url": f"{home}/trees/{commit.tree}"},
        "message": commit.message.rstrip("\n"),
        "parents": [
            {"sha": sha, "url": f"{home}/commits/{sha}", "html_url": f"{page}/commit/{sha}"} for sha in commit.parents
        ],
        "verification": dict(UNVERIFIED),
    }


def commit_json(view: View, world: World, repo: Repo, commit: Commit) -> Json:
    """As the commits API shows it, without files."""
    home, page = view.api(f"/repos/{repo.full_name}"), view.html(f"/{repo.full_name}")
    author, committer = user_of(world, commit.author), user_of(world, commit.committer)
    return {
        "sha": commit.sha,
        "node_id": f"C_{commit.sha}",
        "commit": {
            "author": person(commit.author),
            "committer": person(commit.committer),
            "message": commit.message.rstrip("\n"),
            "tree": {"sha": commit.tree, "url": f"{home}/git/trees/{commit.tree}"},
            "url": f"{home}/git/commits/{commit.sha}",
            "comment_count": 0,
            "verification": dict(UNVERIFIED),
        },
        "url": f"{home}/commits/{commit.sha}",
        "html_url": f"{page}/commit/{commit.sha}",
        "comments_url": f"{home}/commits/{commit.sha}/comments",
        "author": simple_user(view, author) if author else None,
        "committer": simple_user(view, committer) if committer else None,
        "parents": [
            {"sha": sha, "url": f"{home}/commits/{sha}", "html_url": f"{page}/commit/{sha}"} for sha in commit.parents
        ],
    }


def file_json(view: View, repo: Repo, change: FileChange, at: str) -> Json:
    """A changed file; `at` is the commit whose content the links show."""
    path = quote(change.path)
    shown: Json = {
        "sha": change.blob,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": view.html(f"/{repo.full_name}/blob/{at}/{path}"),
        "raw_url": view.html(f"/{repo.full_name}/raw/{at}/{path}"),
        "contents_url": view.api(f"/repos/{repo.full_name}/contents/{path}?ref={at}"),
    }
    if change.patch is not None:
        shown["patch"] = change.patch
    if change.previous is not None:
        shown["previous_filename"] = change.previous
    return shown


def ref_json(view: View, repo: Repo, ref: str, sha: str, kind: str) -> Json:
    """A ref; its url is under /git/refs/, although it is read under /git/ref/."""
    home = view.api(f"/repos/{repo.full_name}/git")
    return {
        "ref": ref,
        "node_id": f"REF_{repo.id}_{ref}",
        "url": f"{home}/{quote(ref)}",
        "object": {"sha": sha, "type": kind, "url": f"{home}/{kind}s/{sha}"},
    }
