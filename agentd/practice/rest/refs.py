"""Git refs: read under /git/ref/ and /git/matching-refs/, written under /git/refs."""

from __future__ import annotations

import re

from agentd.practice.acts.refs import HEADS, RefMove, refs_moved
from agentd.practice.bare import SHA, ZERO, GitFailed
from agentd.practice.refusal import Refused, not_found
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.commits import ref_json

ONE = "/git/refs/{ref*}"
DOES_NOT_EXIST = "Reference does not exist"


def full_name(call: Call) -> str:
    return "refs/" + call.args["ref"]


def shown(call: Call, ref: str) -> dict[str, object]:
    found = call.repo.git.kind(ref)
    if found is None:
        raise not_found()
    return ref_json(call.view, call.repo, ref, *found)


@on_repo("GET", "/git/ref/{ref*}")
async def get(call: Call) -> Reply:
    return Reply(shown(call, full_name(call)))


@on_repo("GET", "/git/matching-refs/{ref*}")
async def matching(call: Call) -> Reply:
    """All refs whose name starts so, also within a path segment."""
    wanted = full_name(call)
    folder = wanted.rsplit("/", 1)[0] + "/"
    names = [name for name in await call.repo.git.refs(folder) if name.startswith(wanted)]
    return paged(call, names, lambda name: shown(call, name))


@on_repo("GET", "/git/refs")
async def index(call: Call) -> Reply:
    return paged(call, list(await call.repo.git.refs("refs/")), lambda name: shown(call, name))


def allowed_name(call: Call, ref: str) -> None:
    """Refuses names that git or the configuration does not allow."""
    if not re.fullmatch(r"refs/[^/].*/?[^/]+", ref) or ref.count("/") < 2:
        raise Refused(422, f"{ref} is not a valid ref name.")
    custom = not ref.startswith((HEADS, "refs/tags/"))
    if ref.startswith("refs/pull/") or (custom and not call.world.config.custom_refs):
        raise Refused(422, f"Reference update failed: {ref} is in a namespace that cannot be written.")


def known_sha(call: Call) -> str:
    sha = call.required("sha", str)
    if not SHA.fullmatch(sha):
        raise Refused(422, "The sha parameter must be exactly 40 characters and contain only [0-9a-f].")
    if call.repo.git.resolve(sha) is None:
        raise Refused(422, "Object does not exist")
    return sha


@on_repo("POST", "/git/refs", need="write")
async def create(call: Call) -> Reply:
    ref, sha = call.required("ref", str), known_sha(call)
    allowed_name(call, ref)
    if call.repo.git.resolve(ref) is not None:
        raise Refused(422, "Reference already exists")
    try:
        await call.repo.git.set_ref(ref, sha, ZERO)
    except GitFailed as error:
        taken = call.repo.git.resolve(ref) is not None
        raise Refused(422, "Reference already exists" if taken else f"Reference update failed: {error}") from None
    await refs_moved(call.world, call.repo, call.actor, [RefMove(ref, ZERO, sha)])
    answer = shown(call, ref)
    return Reply(answer, 201, {"Location": str(answer["url"])})


@on_repo("PATCH", ONE, need="write")
async def update(call: Call) -> Reply:
    """Fast-forward, or anything with force."""
    ref, sha, git = full_name(call), known_sha(call), call.repo.git
    allowed_name(call, ref)
    old = git.resolve(ref)
    if old is None:
        raise Refused(422, DOES_NOT_EXIST)
    if not call.json.get("force") and not await git.is_ancestor(old, sha):
        raise Refused(422, "Update is not a fast forward")
    try:
        await git.set_ref(ref, sha, old)
    except GitFailed as error:
        raise Refused(422, f"Reference update failed: {error}") from None
    await refs_moved(call.world, call.repo, call.actor, [RefMove(ref, old, sha)])
    return Reply(shown(call, ref))


@on_repo("DELETE", ONE, need="write")
async def delete(call: Call) -> Reply:
    ref, git = full_name(call), call.repo.git
    allowed_name(call, ref)
    old = git.resolve(ref)
    if old is None:
        raise Refused(422, DOES_NOT_EXIST)
    branch = ref.removeprefix(HEADS)
    if ref == HEADS + call.repo.default_branch:
        raise Refused(422, "Cannot delete the default branch")
    if branch in call.repo.protections:
        raise Refused(422, "Cannot delete this protected branch")
    await git.drop_ref(ref)
    await refs_moved(call.world, call.repo, call.actor, [RefMove(ref, old, ZERO)])
    return Reply(status=204)
