"""Commits and comparisons."""

from __future__ import annotations

from urllib.parse import quote

from agentd.practice.history import FileChange, changes, merge_base, read_commit, shas_between
from agentd.practice.refusal import Refused, not_found
from agentd.practice.rest.objects import EMPTY_TREE
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.commits import commit_json, file_json
from agentd.practice.world import Json


def sha_of(call: Call, name: str) -> str:
    sha = call.repo.git.commit_of(name)
    if sha is None:
        raise Refused(422, f"No commit found for SHA: {name}")
    return sha


def shown(call: Call, sha: str) -> Json:
    commit = read_commit(call.repo.git, sha)
    assert commit is not None
    return commit_json(call.view, call.world, call.repo, commit)


@on_repo("GET", "/commits")
async def index(call: Call) -> Reply:
    """Of `sha` (a branch or commit), that touch `path`, by `author`, between `since` and `until`."""
    name = call.query.get("sha") or call.repo.default_branch
    start = call.repo.git.commit_of(name)
    if start is None:
        raise not_found()
    filters = [f"--{key}={call.query[key]}" for key in ("since", "until", "author") if call.query.get(key)]
    path = ["--", call.query["path"]] if call.query.get("path") else []
    listed = await call.repo.git.git("rev-list", *filters, start, *path)
    return paged(call, listed.decode().split(), lambda sha: shown(call, sha))


@on_repo("GET", "/commits/{ref*}")
async def get(call: Call) -> Reply:
    name, repo = call.args["ref"], call.repo
    sha = sha_of(call, name)
    if "sha" in call.headers.get("Accept", "").split(".")[-1]:
        return Reply(sha.encode(), headers={"Content-Type": "text/plain"})
    commit = read_commit(repo.git, sha)
    assert commit is not None
    files = await changes(repo.git, commit.parents[0] if commit.parents else EMPTY_TREE, sha)
    rows = [file_json(call.view, repo, change, sha) for change in files]
    return Reply(shown(call, sha) | {"stats": stats(files), "files": rows})


def stats(files: list[FileChange]) -> Json:
    added, deleted = sum(each.additions for each in files), sum(each.deletions for each in files)
    return {"total": added + deleted, "additions": added, "deletions": deleted}


@on_repo("GET", "/compare/{basehead*}")
async def compare(call: Call) -> Reply:
    base_name, dots, head_name = call.args["basehead"].partition("...")
    git, repo = call.repo.git, call.repo
    base, head = git.commit_of(base_name.split(":")[-1]), git.commit_of(head_name.split(":")[-1])
    if not dots or base is None or head is None:
        raise not_found()
    fork = await merge_base(git, base, head)
    if fork is None:
        raise Refused(404, f"No common ancestor between {base_name} and {head_name}.")
    ahead, behind = await shas_between(git, base, head), await shas_between(git, head, base)
    status = ("diverged" if behind else "ahead") if ahead else ("behind" if behind else "identical")
    pair = quote(f"{base_name}...{head_name}")
    page = call.view.html(f"/{repo.full_name}/compare/{pair}")
    around = {
        "url": call.view.api(f"/repos/{repo.full_name}/compare/{pair}"),
        "html_url": page,
        "permalink_url": call.view.html(f"/{repo.full_name}/compare/{base[:7]}...{head[:7]}"),
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": shown(call, base),
        "merge_base_commit": shown(call, fork),
        "status": status,
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
    }
    page_of_commits = paged(call, ahead, lambda sha: shown(call, sha))
    files = [file_json(call.view, repo, change, head) for change in await changes(git, fork, head)]
    return Reply({**around, "commits": page_of_commits.data, "files": files}, headers=page_of_commits.headers)
