"""Pull requests: opening them, and whether they could be merged."""

from __future__ import annotations

from agentd.practice.acts.checks import missing_for_merge, verdict
from agentd.practice.acts.issues import check_title, happened, tell
from agentd.practice.acts.mentions import cross_reference
from agentd.practice.acts.refs import publish_head
from agentd.practice.history import changes, merge_base, merged_tree, shas_between
from agentd.practice.refusal import Refused, check_body, custom
from agentd.practice.world import Issue, Json, Pull, Repo, User, World


async def open_pull(
    world: World, repo: Repo, actor: User, head: str, base: str, title: str, body: str | None, draft: bool = False
) -> Issue:
    """A new pull request. `head` is a branch or owner:branch. Refused as GitHub does."""
    check_title("PullRequest", title)
    check_body("PullRequest", body)
    head_repo, branch = head_of(world, repo, head)
    head_sha, base_sha = head_repo.git.branch(branch), repo.git.branch(base)
    if base_sha is None:
        raise Refused(422, "Validation Failed", [{"resource": "PullRequest", "field": "base", "code": "invalid"}])
    if head_sha is None:
        raise Refused(422, "Validation Failed", [{"resource": "PullRequest", "field": "head", "code": "invalid"}])
    refuse_twin(repo, head_repo, branch, base)
    issue = Issue(world.next_id(), repo.number(), actor, title, body, world.now(), world.now())
    issue.repo, pull = repo, Pull(world.next_id(), head_repo, branch, head_sha, base, base_sha, draft)
    issue.pull = pull
    await publish_head(issue, pull)
    if not await shas_between(repo.git, base_sha, head_sha):
        raise custom("PullRequest", f"No commits between {label(repo, base)} and {label(head_repo, branch)}")
    if await merge_base(repo.git, base_sha, head_sha) is None:
        raise custom("PullRequest", f"The {branch} branch has no history in common with {base}")
    repo.issues[issue.number] = issue
    tell(world, issue, "opened", actor)
    cross_reference(world, issue, actor, f"{title}\n{body or ''}")
    return issue


def label(repo: Repo, branch: str) -> str:
    return branch if ":" in branch else f"{repo.owner.login}:{branch}"


def head_of(world: World, repo: Repo, head: str) -> tuple[Repo, str]:
    """Repository and branch of `branch`, `owner:branch` or a fork's `owner:branch`."""
    owner, _, branch = head.rpartition(":")
    if not owner or owner.lower() == repo.owner.login.lower():
        return repo, branch
    for other in world.repos.values():
        if other.owner.login.lower() == owner.lower() and other.fork_of is repo:
            return other, branch
    raise Refused(422, "Validation Failed", [{"resource": "PullRequest", "field": "head", "code": "invalid"}])


def refuse_twin(repo: Repo, head_repo: Repo, branch: str, base: str) -> None:
    for issue, pull in repo.pulls():
        if issue.state == "open" and (pull.head_repo, pull.head_ref, pull.base_ref) == (head_repo, branch, base):
            raise custom("PullRequest", f"A pull request already exists for {label(head_repo, branch)}.")


async def worked_out(world: World, issue: Issue, asked: bool = True) -> Json:
    """What one pull request shows beyond lists: sizes, and mergeable, which is null at first.

    `asked` is False in the answer to a change, where mergeable is never known yet.
    """
    pull = issue.pull
    assert pull is not None
    git = issue.repo.git
    fork = await merge_base(git, pull.base_sha, pull.head_sha) or pull.base_sha
    files = await changes(git, fork, pull.head_sha)
    sizes = {
        "commits": len(await shas_between(git, fork, pull.head_sha)),
        "additions": sum(change.additions for change in files),
        "deletions": sum(change.deletions for change in files),
        "changed_files": len(files),
    }
    mergeable, state = await mergeability(world, issue) if asked else (None, "unknown")
    return sizes | {"mergeable": mergeable, "mergeable_state": state}


async def mergeability(world: World, issue: Issue) -> tuple[bool | None, str]:
    """`mergeable` and `mergeable_state`: null and unknown for the first answers after head or base moved."""
    pull = issue.pull
    assert pull is not None
    base = issue.repo.git.branch(pull.base_ref)
    if issue.state != "open" or base is None:
        return None, "unknown"
    head, at, shown = pull.nulls_shown
    shown = shown if (head, at) == (pull.head_sha, base) else 0
    if shown < world.config.mergeable_nulls:
        pull.nulls_shown = (pull.head_sha, base, shown + 1)
        return None, "unknown"
    if await merged_tree(issue.repo.git, base, pull.head_sha) is None:
        return False, "dirty"
    if pull.draft:
        return True, "draft"
    missing = await missing_for_merge(issue, base)
    if missing:
        return True, "behind" if missing.startswith("Head branch is out of date") else "blocked"
    return True, "clean" if verdict(issue.repo, pull.head_sha) in (None, "success") else "unstable"


def set_draft(world: World, issue: Issue, actor: User, draft: bool) -> None:
    assert issue.pull is not None
    if issue.pull.draft != draft:
        issue.pull.draft = draft
        happened(world, issue, "convert_to_draft" if draft else "ready_for_review", actor)
        tell(world, issue, "converted_to_draft" if draft else "ready_for_review", actor)
