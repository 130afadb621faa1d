"""Merging a pull request and bringing its branch up to date."""

from __future__ import annotations

from agentd.practice.acts.merging import merge_pull, new_commit
from agentd.practice.acts.refs import HEADS, RefMove, follow_heads, refs_moved
from agentd.practice.history import merged_tree
from agentd.practice.refusal import Refused, not_found
from agentd.practice.routing import Call, Reply, on_repo
from agentd.practice.shapes.commits import signature_of


@on_repo("GET", "/pulls/{number}/merge")
async def is_merged(call: Call) -> Reply:
    if call.pull()[1].merged_at is None:
        raise not_found()
    return Reply(status=204)


@on_repo("PUT", "/pulls/{number}/merge", need="write")
async def merge(call: Call) -> Reply:
    issue, _ = call.pull()
    await follow_heads(call.world, call.repo)
    sha = await merge_pull(
        call.world,
        issue,
        call.actor,
        call.optional("merge_method", str) or "merge",
        call.optional("commit_title", str),
        call.optional("commit_message", str),
        call.optional("sha", str),
    )
    return Reply({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


@on_repo("PUT", "/pulls/{number}/update-branch", need="write")
async def update_branch(call: Call) -> Reply:
    """Merges the base into the head."""
    issue, pull = call.pull()
    await follow_heads(call.world, call.repo)
    expected = call.optional("expected_head_sha", str)
    if expected not in (None, pull.head_sha):
        raise Refused(422, f"expected head sha didn't match current head ref. ({expected} vs {pull.head_sha})")
    git, base = call.repo.git, call.repo.git.branch(pull.base_ref)
    if base is None or issue.state != "open" or await git.is_ancestor(base, pull.head_sha):
        raise Refused(422, "There are no new commits on the base branch.")
    tree = await merged_tree(git, pull.head_sha, base)
    if tree is None:
        raise Refused(422, "merge conflict between base and head")
    old, by = pull.head_sha, signature_of(call.actor, call.world)
    made = await new_commit(git, tree, [old, base], f"Merge branch '{pull.base_ref}' into {pull.head_ref}", by, by)
    await pull.head_repo.git.set_ref(HEADS + pull.head_ref, made, old)
    await refs_moved(call.world, pull.head_repo, call.actor, [RefMove(HEADS + pull.head_ref, old, made)])
    address = call.view.api(f"/repos/{call.repo.full_name}/pulls/{issue.number}")
    return Reply({"message": "Updating pull request branch.", "url": address}, 202)
