"""Files by path."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote

from agentd.practice.acts.refs import HEADS, RefMove, refs_moved
from agentd.practice.bare import ZERO
from agentd.practice.history import read_commit
from agentd.practice.refusal import Refused, not_found
from agentd.practice.rest.objects import signature
from agentd.practice.routing import Call, Reply, on_repo
from agentd.practice.shapes.commits import git_commit_json
from agentd.practice.world import Json

KINDS = {"tree": "dir", "blob": "file", "commit": "submodule"}


def entry(call: Call, path: str, sha: str, kind: str, size: int, at: str) -> Json:
    """A file or folder without its content."""
    home, page = call.view.api(f"/repos/{call.repo.full_name}"), call.view.html(f"/{call.repo.full_name}")
    address = f"{home}/contents/{quote(path)}?ref={quote(at)}"
    html = f"{page}/{kind}/{quote(at)}/{quote(path)}"
    raw = f"{page}/raw/{quote(at)}/{quote(path)}" if kind == "blob" else None
    return {
        "name": path.rsplit("/", 1)[-1],
        "path": path,
        "sha": sha,
        "size": size,
        "url": address,
        "html_url": html,
        "git_url": f"{home}/git/{kind}s/{sha}",
        "download_url": raw,
        "type": KINDS[kind],
        "_links": {"self": address, "git": f"{home}/git/{kind}s/{sha}", "html": html},
    }


@on_repo("GET", "/contents")
@on_repo("GET", "/contents/{path*}")
async def get(call: Call) -> Reply:
    """A file with its content, or the list of a folder."""
    path, at = call.args.get("path", "").strip("/"), call.query.get("ref") or call.repo.default_branch
    commit = call.repo.git.commit_of(at)
    if commit is None:
        raise Refused(404, f"No commit found for the ref {at}")
    found = call.repo.git.read(f"{commit}:{path}")
    if found is None:
        raise not_found()
    sha, kind, content = found
    if kind == "tree":
        return Reply(await folder(call, path, sha, at))
    if call.headers.get("Accept", "").endswith(("raw", "raw+json")):
        return Reply(content, headers={"Content-Type": "application/vnd.github.raw"})
    shown = entry(call, path, sha, kind, len(content), at)
    return Reply(shown | {"content": base64.encodebytes(content).decode(), "encoding": "base64"})


async def folder(call: Call, path: str, sha: str, at: str) -> list[Json]:
    listed = (await call.repo.git.git("ls-tree", "-z", "-l", sha)).decode(errors="replace")
    rows = []
    for line in listed.split("\0")[:-1]:
        (_, kind, blob, size), name = line.split("\t", 1)[0].split(), line.split("\t", 1)[1]
        full = f"{path}/{name}" if path else name
        rows.append(entry(call, full, blob, kind, 0 if size == "-" else int(size), at))
    return rows


@on_repo("PUT", "/contents/{path*}", need="write")
async def put(call: Call) -> Reply:
    """Makes or changes a file; 409 when `sha` is not what is there, 422 when it is missing."""
    try:
        content = base64.b64decode(call.required("content", str), validate=False)
    except binascii.Error:
        raise Refused(422, "content is not valid Base64") from None
    known = checked_blob(call)
    return await write(call, content, 200 if known else 201)


@on_repo("DELETE", "/contents/{path*}", need="write")
async def delete(call: Call) -> Reply:
    call.required("sha", str)
    if checked_blob(call) is None:
        raise not_found()
    return await write(call, None, 200)


def checked_blob(call: Call) -> str | None:
    """The blob at the path, None for no file; refused when the caller does not know it."""
    path, given = call.args["path"], call.optional("sha", str)
    found = call.repo.git.resolve(f"{HEADS}{branch_of(call)}:{path}")
    if found is not None and given is None:
        raise Refused(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if given is not None and given != found:
        raise Refused(409, f"{path} does not match {given}")
    return found


def branch_of(call: Call) -> str:
    return call.optional("branch", str) or call.repo.default_branch


async def write(call: Call, content: bytes | None, status: int) -> Reply:
    git, path, branch = call.repo.git, call.args["path"], branch_of(call)
    base = git.branch(branch)
    if base is None and branch != call.repo.default_branch:
        raise Refused(404, f"Branch {branch} not found")
    by = signature(call, call.optional("committer", dict) or call.optional("author", dict))
    sha = await git.commit(branch, {path: content}, call.required("message", str), by, base)
    await refs_moved(call.world, call.repo, call.actor, [RefMove(HEADS + branch, base or ZERO, sha)])
    commit = read_commit(git, sha)
    assert commit is not None
    shown: Json = {"content": None, "commit": git_commit_json(call.view, call.repo, commit)}
    if content is not None:
        blob = git.resolve(f"{sha}:{path}") or ""
        shown["content"] = entry(call, path, blob, "blob", len(content), branch)
    return Reply(shown, status)
