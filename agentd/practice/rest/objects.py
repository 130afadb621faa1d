"""The git database: blobs, trees, commits."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from pathlib import Path

from agentd.practice.acts.merging import new_commit
from agentd.practice.bare import GitFailed, Signature
from agentd.practice.history import read_commit
from agentd.practice.refusal import Refused, invalid, not_found
from agentd.practice.routing import Call, Reply, on_repo
from agentd.practice.shapes.commits import git_commit_json, signature_of
from agentd.practice.world import Json

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@on_repo("GET", "/git/blobs/{sha}")
async def get_blob(call: Call) -> Reply:
    found = call.repo.git.read(call.args["sha"])
    if found is None or found[1] != "blob":
        raise not_found()
    sha, _, content = found
    return Reply(
        {
            "sha": sha,
            "node_id": f"B_{sha}",
            "size": len(content),
            "url": call.view.api(f"/repos/{call.repo.full_name}/git/blobs/{sha}"),
            "content": base64.encodebytes(content).decode(),
            "encoding": "base64",
        }
    )


async def write_blob(call: Call, content: str, encoding: str) -> str:
    try:
        data = base64.b64decode(content) if encoding == "base64" else content.encode()
    except binascii.Error:
        raise invalid("Blob", "content") from None
    return (await call.repo.git.git("hash-object", "-w", "--stdin", stdin=data)).decode().strip()


@on_repo("POST", "/git/blobs", need="write")
async def create_blob(call: Call) -> Reply:
    sha = await write_blob(call, call.required("content", str), call.optional("encoding", str) or "utf-8")
    address = call.view.api(f"/repos/{call.repo.full_name}/git/blobs/{sha}")
    return Reply({"sha": sha, "url": address}, 201)


async def tree_json(call: Call, sha: str, recursive: bool) -> Json:
    home = call.view.api(f"/repos/{call.repo.full_name}/git")
    options = ["-r", "-t"] if recursive else []
    listed = (await call.repo.git.git("ls-tree", "-z", "-l", *options, sha)).decode(errors="replace")
    entries = []
    for row in listed.split("\0")[:-1]:
        (mode, kind, entry, size), path = row.split("\t", 1)[0].split(), row.split("\t", 1)[1]
        shown = {"path": path, "mode": mode, "type": kind, "sha": entry, "url": f"{home}/{kind}s/{entry}"}
        entries.append(shown | ({"size": int(size)} if size != "-" else {}))
    return {"sha": sha, "url": f"{home}/trees/{sha}", "tree": entries, "truncated": False}


@on_repo("GET", "/git/trees/{sha*}")
async def get_tree(call: Call) -> Reply:
    """By tree, commit or branch."""
    name = call.args["sha"]
    sha = call.repo.git.resolve(f"{call.repo.git.commit_of(name) or name}^{{tree}}")
    if sha is None:
        raise not_found()
    return Reply(await tree_json(call, sha, "recursive" in call.query))


@on_repo("POST", "/git/trees", need="write")
async def create_tree(call: Call) -> Reply:
    """The entries on top of base_tree; an entry with sha null is taken away."""
    git, base = call.repo.git, call.optional("base_tree", str)
    start = git.resolve(f"{base}^{{tree}}") if base else EMPTY_TREE
    if start is None:
        raise Refused(422, "base_tree is not a valid tree oid")
    lines = []
    for entry in call.required("tree", list):
        sha = entry.get("sha")
        if "content" in entry:
            sha = await write_blob(call, entry["content"], "utf-8")
        elif sha is not None and git.resolve(sha) is None:
            raise Refused(422, f"tree.sha {sha} is not a valid blob")
        lines.append(f"0 {'0' * 40}\t{entry['path']}\0" if sha is None else f"{entry['mode']} {sha}\t{entry['path']}\0")
    env = {"GIT_INDEX_FILE": str(git.path / f"practice-index-{call.world.next_id()}")}
    try:
        await git.git("read-tree", *(["--empty"] if start == EMPTY_TREE else [start]), env=env)
        await git.git("update-index", "-z", "--index-info", stdin="".join(lines).encode(), env=env)
        made = (await git.git("write-tree", env=env)).decode().strip()
    except GitFailed as error:
        raise Refused(422, f"tree is not valid: {error}") from None
    finally:
        Path(env["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    return Reply(await tree_json(call, made, False), 201)


@on_repo("GET", "/git/commits/{sha}")
async def get_commit(call: Call) -> Reply:
    commit = read_commit(call.repo.git, call.args["sha"])
    if commit is None:
        raise not_found()
    return Reply(git_commit_json(call.view, call.repo, commit))


def signature(call: Call, given: Json | None) -> Signature:
    """Name, email and date of the body, or the caller's and now."""
    own = signature_of(call.actor, call.world)
    if not given:
        return own
    at = datetime.fromisoformat(given["date"].replace("Z", "+00:00")) if given.get("date") else own.at
    return Signature(given.get("name") or own.name, given.get("email") or own.email, at)


@on_repo("POST", "/git/commits", need="write")
async def create_commit(call: Call) -> Reply:
    git, tree, parents = call.repo.git, call.required("tree", str), call.optional("parents", list) or []
    if git.kind(tree) != (tree, "tree"):
        raise Refused(422, "Tree SHA does not exist")
    if any(git.kind(parent) != (parent, "commit") for parent in parents):
        raise Refused(422, "Parent SHA does not exist or is not a commit object")
    author = signature(call, call.optional("author", dict))
    committer = signature(call, call.optional("committer", dict) or call.optional("author", dict))
    sha = await new_commit(git, tree, parents, call.required("message", str), author, committer)
    commit = read_commit(git, sha)
    assert commit is not None
    return Reply(git_commit_json(call.view, call.repo, commit), 201)
