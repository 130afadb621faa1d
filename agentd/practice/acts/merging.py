"""Merging a pull request for real: merge commit, squash or rebase, made from objects in the bare repository."""

from __future__ import annotations

from agentd.practice.acts.checks import missing_for_merge
from agentd.practice.acts.issues import close, happened
from agentd.practice.acts.mentions import closed_by
from agentd.practice.acts.refs import HEADS, RefMove, refs_moved
from agentd.practice.bare import ZERO, BareRepository, GitFailed, Signature
from agentd.practice.history import merge_base, merged_tree, message_of, read_commit, shas_between
from agentd.practice.refusal import Refused
from agentd.practice.shapes.commits import signature_of
from agentd.practice.world import Issue, Pull, User, World

NOT_MERGEABLE = "Pull Request is not mergeable"


async def merge_pull(
    world: World,
    issue: Issue,
    actor: User,
    method: str = "merge",
    title: str | None = None,
    message: str | None = None,
    expected_sha: str | None = None,
) -> str:
    """Merges; the sha that the base branch has then. Refused with 405 when it cannot be, 409 when the head moved."""
    pull, repo = issue.pull, issue.repo
    assert pull is not None
    base = repo.git.branch(pull.base_ref)
    await refuse_merge(issue, pull, base, method, expected_sha)
    assert base is not None
    made = await make_merge(world, issue, pull, actor, base, method, title, message)
    try:
        await repo.git.set_ref(HEADS + pull.base_ref, made, base)
    except GitFailed:
        raise Refused(405, "Base branch was modified. Review and try the merge again.") from None
    pull.merged_at, pull.merged_by, pull.merge_commit_sha = world.now(), actor, made
    happened(world, issue, "merged", actor, made)
    close(world, issue, actor)
    if pull.base_ref == repo.default_branch:
        for target in closed_by(world, repo, f"{issue.title}\n{issue.body or ''}"):
            close(world, target, actor, "completed")
    moves = [RefMove(HEADS + pull.base_ref, base, made)]
    if repo.settings.get("delete_branch_on_merge") and pull.head_repo is repo:
        await repo.git.drop_ref(HEADS + pull.head_ref)
        happened(world, issue, "head_ref_deleted", actor)
        moves.append(RefMove(HEADS + pull.head_ref, pull.head_sha, ZERO))
    await refs_moved(world, repo, actor, moves)
    return made


async def refuse_merge(issue: Issue, pull: Pull, base: str | None, method: str, expected_sha: str | None) -> None:
    allowed = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
    if method not in allowed:
        raise Refused(422, f"Invalid request.\n\nFor 'properties/merge_method', {method!r} is not a possible value.")
    if issue.state != "open" or base is None:
        raise Refused(405, NOT_MERGEABLE)
    if expected_sha is not None and expected_sha != pull.head_sha:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    if not issue.repo.settings.get(allowed[method], True):
        names = {"merge": "Merge commits are", "squash": "Squash merges are", "rebase": "Rebase merges are"}
        raise Refused(405, f"{names[method]} not allowed on this repository.")
    if pull.draft:
        raise Refused(405, "Pull Request is still a draft")
    if await merged_tree(issue.repo.git, base, pull.head_sha) is None:
        raise Refused(405, NOT_MERGEABLE)
    missing = await missing_for_merge(issue, base)
    if missing:
        raise Refused(405, missing)


async def make_merge(
    world: World, issue: Issue, pull: Pull, actor: User, base: str, method: str, title: str | None, message: str | None
) -> str:
    git, by = issue.repo.git, signature_of(actor, world)
    commits = await shas_between(git, base, pull.head_sha)
    if method == "rebase":
        return await rebased(git, base, commits, by)
    tree = await merged_tree(git, base, pull.head_sha)
    assert tree is not None
    if method == "squash":
        told = "\n".join(f"* {message_of(git, sha).strip()}\n" for sha in commits) if len(commits) > 1 else ""
        text = f"{title or f'{issue.title} (#{issue.number})'}\n\n{told if message is None else message}"
        author = read_commit(git, commits[-1]) if commits else None
        return await new_commit(git, tree, [base], text, author.author if author else by, by)
    default = f"Merge pull request #{issue.number} from {pull.head_repo.owner.login}/{pull.head_ref}"
    text = f"{title or default}\n\n{issue.title if message is None else message}"
    return await new_commit(git, tree, [base, pull.head_sha], text, by, by)


async def rebased(git: BareRepository, base: str, commits: list[str], by: Signature) -> str:
    """The commits replayed on the base; merge commits are left out as `git rebase` does."""
    tip = base
    for sha in commits:
        commit = read_commit(git, sha)
        assert commit is not None
        if len(commit.parents) != 1:
            continue
        tree = await picked_tree(git, tip, commit.parents[0], sha, by)
        if tree is None:
            raise Refused(405, "This branch can't be rebased")
        tip = await new_commit(git, tree, [tip], commit.message, commit.author, by)
    return tip


async def picked_tree(git: BareRepository, tip: str, parent: str, sha: str, by: Signature) -> str | None:
    """The tree of `sha` replayed on `tip`: a merge with a stand-in for the tip that descends from the commit's parent.

    `git merge-tree --merge-base` would say it directly, but git 2.38 and 2.39 do not have it.
    """
    if await merge_base(git, tip, sha) == parent:
        return await merged_tree(git, tip, sha)
    at = read_commit(git, tip)
    assert at is not None
    stand_in = await new_commit(git, at.tree, [parent], "stand-in", by, by)
    return await merged_tree(git, stand_in, sha)


async def new_commit(
    git: BareRepository, tree: str, parents: list[str], message: str, author: Signature, committer: Signature
) -> str:
    """Writes a commit object and nothing else."""
    lines = [f"tree {tree}", *(f"parent {sha}" for sha in parents)]
    lines += [f"author {author.raw()}", f"committer {committer.raw()}", "", message.rstrip("\n") + "\n"]
    made = await git.git("hash-object", "-t", "commit", "-w", "--stdin", stdin="\n".join(lines).encode())
    return made.decode().strip()
