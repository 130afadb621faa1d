"""What follows when refs move: pull requests follow their heads, close, or are merged; commits close issues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentd.practice.acts.announce import announce
from agentd.practice.acts.issues import close, happened, tell
from agentd.practice.acts.mentions import MENTION, closed_by, named_issues
from agentd.practice.bare import ZERO
from agentd.practice.history import message_of, shas_between
from agentd.practice.world import Issue, Json, Pull, Repo, User, World

HEADS = "refs/heads/"


@dataclass(frozen=True)
class RefMove:
    """ZERO as `old`: made; ZERO as `new`: deleted."""

    ref: str
    old: str
    new: str


async def refs_moved(world: World, repo: Repo, actor: User, moves: Sequence[RefMove]) -> None:
    """To be called after every change of refs, however it came about."""
    if not moves:
        return
    repo.pushed_at = repo.updated_at = world.now()
    for move in moves:
        announce_move(world, repo, actor, move)
        if move.ref == HEADS + repo.default_branch and ZERO not in (move.old, move.new):
            await read_commits(world, repo, actor, move)
    await follow_heads(world, repo, actor)


def announce_move(world: World, repo: Repo, actor: User, move: RefMove) -> None:
    kind = "branch" if move.ref.startswith(HEADS) else "tag"
    short = {"ref": move.ref.removeprefix(HEADS).removeprefix("refs/tags/"), "ref_type": kind}
    if not move.ref.startswith((HEADS, "refs/tags/")):
        return
    if ZERO in (move.old, move.new):
        announce(world, repo, "create" if move.old == ZERO else "delete", None, actor, lambda view: dict(short))
    push: Json = {"ref": move.ref, "before": move.old, "after": move.new}
    push |= {"created": move.old == ZERO, "deleted": move.new == ZERO, "pusher": {"name": actor.login}}
    announce(world, repo, "push", None, actor, lambda view: dict(push))


async def read_commits(world: World, repo: Repo, actor: User, move: RefMove) -> None:
    """Commits that reach the default branch close the issues they say they close, and are noted on those they name."""
    for sha in await shas_between(repo.git, move.old, move.new):
        text = message_of(repo.git, sha)
        closing = closed_by(world, repo, text)
        for issue in named_issues(world, repo, text, MENTION):
            happened(world, issue, "referenced", actor, sha)
        for issue in closing:
            close(world, issue, actor, commit_id=sha)


async def follow_heads(world: World, repo: Repo, actor: User | None = None) -> None:
    """Brings the open pull requests from and to this repository up to date with its branches."""
    for base in world.repos.values():
        for issue, pull in base.pulls():
            if issue.state == "open" and repo in (base, pull.head_repo):
                await follow(world, issue, pull, actor or pull.head_repo.owner)


async def follow(world: World, issue: Issue, pull: Pull, actor: User) -> None:
    head, base = pull.head_repo.git.branch(pull.head_ref), issue.repo.git.branch(pull.base_ref)
    if head is None or base is None:
        if head is None:
            happened(world, issue, "head_ref_deleted", actor)
        close(world, issue, actor)
    elif head != pull.head_sha:
        await head_moved(world, issue, pull, head, base, actor)
    elif base != pull.base_sha and await issue.repo.git.is_ancestor(head, base):
        pull.merged_at, pull.merged_by, pull.merge_commit_sha = world.now(), actor, head
        happened(world, issue, "merged", actor, head)
        close(world, issue, actor)


async def head_moved(world: World, issue: Issue, pull: Pull, head: str, base: str, actor: User) -> None:
    before, pull.head_sha, pull.base_sha = pull.head_sha, head, base
    await publish_head(issue, pull)
    issue.updated_at = world.now()
    if not await issue.repo.git.is_ancestor(before, head):
        happened(world, issue, "head_ref_force_pushed", actor, head)
    tell(world, issue, "synchronize", actor, {"before": before, "after": head})


async def publish_head(issue: Issue, pull: Pull) -> None:
    """Keeps refs/pull/N/head in the base repository, which also brings the commits of a fork there."""
    ref, git = f"refs/pull/{issue.number}/head", issue.repo.git
    if pull.head_repo is not issue.repo:
        await git.git(
            "fetch", "--quiet", "--no-tags", str(pull.head_repo.git.path), f"+refs/heads/{pull.head_ref}:{ref}"
        )
    else:
        await git.set_ref(ref, pull.head_sha)
