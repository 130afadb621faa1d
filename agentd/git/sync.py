"""Bringing a task's branch up to the base, worked out in memory from objects; no tree and no ref is touched.

agentd's own commits are made again on the base, one by one. A branch that anybody else has committed to, or that has
merges, is never rewritten: the base is merged into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agentd.git.commits import Commit, list_range, merge_bases, merge_commit, read_commits, throw_away
from agentd.git.landed import landed
from agentd.git.lock_conflicts import ManifestsOf, Refusal, Taken, erased, merged_as_text, no_lockfiles, takeable
from agentd.git.merging import Merged, explained, merge, merge_tree
from agentd.git.mirror import Mirror, resolve
from agentd.git.naming import base_ref
from agentd.git.picking import pick
from agentd.git.trees import with_entries

__all__ = ["SyncStatus", "Synced", "merge_tree", "record_base", "recorded_base", "sync"]

SyncStatus = Literal["clean", "lockfiles", "conflict"]


@dataclass(frozen=True)
class Synced:
    """Where work goes on from, or why it cannot. Paths hold bytes that are no UTF-8 as surrogates."""

    status: SyncStatus
    sha: str
    """commit that holds both the base and the branch; the branch itself on a conflict"""
    files: tuple[str, ...] = ()
    """paths in conflict"""
    reason: str = ""
    """for people: what was done, or why it conflicts"""
    lockfiles: tuple[str, ...] = ()
    """lockfiles that were in conflict. In `sha` upstream's version stands, or none where upstream removed it: they
    must be made anew before use"""
    merged_lockfiles: tuple[str, ...] = ()
    """lockfiles that both sides changed and that merged as text: their tool should check them"""
    dropped: tuple[str, ...] = ()
    """commits that were not carried over, because their change is upstream already"""
    marked: str = ""
    """on a conflict the tree of the merge with conflict markers in it, for an agent to resolve"""


@dataclass(frozen=True)
class _Parted:
    """The branch and the base, and what the branch has gained since they parted."""

    branch: Commit
    base: Commit
    fork: Commit
    rewritten: bool
    """the base has dropped commits that the branch stands on; `fork` is the last of them"""
    commits: tuple[Commit, ...]
    landed: frozenset[str]
    """those of the commits whose patch the base has"""
    squashed: bool
    """the base has the patch of all of them together"""
    merged: Merged
    """the branch, as ours, and the base"""
    names: dict[str, str]
    """what git calls them in its messages, and what people should read"""


def sync(
    mirror: Mirror,
    branch_sha: str | None,
    base_sha: str,
    *,
    recorded_base: str = "",
    manifests_of: ManifestsOf = no_lockfiles,
) -> Synced:
    """The branch on top of the base, or with the base merged in. Without a branch, or when it is behind, the base.

    `recorded_base` is the base that the branch was last synced onto. The same input gives the same commits. Raises
    GitError when a commit is not in the mirror.
    """
    if branch_sha is None:
        return Synced("clean", base_sha, reason="no branch yet")
    shared = merge_bases(mirror, branch_sha, base_sha)
    if branch_sha in shared:
        return Synced("clean", base_sha, reason="already merged")
    rewritten = recorded_base not in ("", base_sha, *shared) and _is_dropped(
        mirror, recorded_base, branch_sha, base_sha
    )
    if base_sha in shared and not rewritten:
        return Synced("clean", branch_sha, reason="up to date")
    if not shared and not rewritten:
        return Synced("conflict", branch_sha, reason="the branch and the base have no common history")
    parted = _part(mirror, branch_sha, base_sha, recorded_base if rewritten else shared[0], rewritten)
    nothing_new = parted.squashed or (parted.merged.clean and parted.merged.tree == parted.base.tree)
    if nothing_new and parted.branch.tree != parted.fork.tree:
        shas = tuple(commit.sha for commit in parted.commits)
        return Synced("clean", base_sha, reason="the branch's change is on the base already", dropped=shas)
    refusal = Refusal()
    if all(_is_own(mirror, commit) for commit in parted.commits):
        synced = _rebased(mirror, parted, manifests_of)
        if isinstance(synced, Synced):
            return synced
        refusal = synced
    return _joined(mirror, parted, refusal, manifests_of)


def record_base(mirror: Mirror, task_id: str, sha: str) -> None:
    """Note the base that the task's branch was synced onto; the ref keeps it when the base branch is rewritten."""
    mirror.git("update-ref", base_ref(task_id), sha)


def recorded_base(mirror: Mirror, task_id: str) -> str:
    """The base that the task's branch was last synced onto by this mirror, or an empty string."""
    return resolve(mirror, base_ref(task_id)) or ""


def _is_dropped(mirror: Mirror, recorded: str, branch: str, base: str) -> bool:
    """True when the branch stands on `recorded` and the base does not any more. False too when it is not here."""
    in_branch = mirror.git("merge-base", recorded, branch, accept=(0, 1, 128))
    return in_branch == recorded and mirror.git("merge-base", recorded, base, accept=(0, 1)) != recorded


def _is_own(mirror: Mirror, commit: Commit) -> bool:
    """A commit that may be made again: agentd's, and no merge, whose resolutions would be lost."""
    return len(commit.parents) == 1 and commit.committer_email == mirror.author.email


def _part(mirror: Mirror, branch_sha: str, base_sha: str, fork_sha: str, rewritten: bool) -> _Parted:
    branch, base, fork = read_commits(mirror, (branch_sha, base_sha, fork_sha))
    net = throw_away(mirror, branch.tree, fork_sha)
    dropped = (fork_sha,) if rewritten else ()
    listed = list_range(mirror, branch_sha, base_sha, *dropped)
    there = landed(mirror, {*listed, net}, branch_sha, base_sha, *dropped)
    # Where the base was rewritten git's own merge base lies below what was dropped, and would bring that back.
    ours, theirs = (net, throw_away(mirror, base.tree, fork_sha)) if rewritten else (branch_sha, base_sha)
    return _Parted(
        *(branch, base, fork, rewritten),
        commits=tuple(read_commits(mirror, listed)),
        landed=there,
        squashed=net in there,
        merged=merge(mirror, ours, theirs),
        names={ours: "the branch", theirs: "the base"},
    )


def _rebased(mirror: Mirror, parted: _Parted, manifests_of: ManifestsOf) -> Synced | Refusal:
    # Without merges each commit's parent is the one before it, and the first one's is the fork.
    parents = (parted.fork, *parted.commits)
    pairs = tuple(zip(parted.commits, parents, strict=False))
    picked = pick(mirror, pairs, parted.landed, parted.base, manifests_of)
    if isinstance(picked, Refusal):
        return picked
    count = len(pairs) - len(picked.dropped)
    reason = (
        f"rebased {count} commit{'' if count == 1 else 's'}" if count else "nothing of the branch is left to carry over"
    )
    made = Synced("clean", picked.sha, reason=reason, dropped=picked.dropped)
    return _with_lockfiles(mirror, parted, made, picked.tree, picked.taken, manifests_of)


def _joined(mirror: Mirror, parted: _Parted, refusal: Refusal, manifests_of: ManifestsOf) -> Synced:
    """The base merged into the branch as one commit. Also what is left when single commits conflict on the way to
    an end that does not, such as an edit that is taken back later."""
    merged, taken = parted.merged, {}
    said = explained(merged, parted.names)
    if parted.rewritten:
        why = f"the base was rewritten and a merge would bring back what it dropped ({parted.fork.sha[:12]} and before)"
        return _conflict(parted, (refusal.reason, why, said))
    if not merged.clean:
        found = takeable(mirror, merged, 3, parted.base.tree, manifests_of)
        if isinstance(found, Refusal):
            return _conflict(parted, (found.reason or refusal.reason, said))
        taken = found
    tree = with_entries(mirror, merged.tree, taken)
    shas = [commit.sha for commit in parted.commits]
    lost = erased(mirror, taken, parted.base.tree, tree, shas, manifests_of)
    if lost is not None:
        return _conflict(parted, (lost.reason, said))
    sha = merge_commit(mirror, tree, parted.branch, parted.base, f"Merge {mirror.base_branch} into the task's branch")
    made = Synced("clean", sha, reason="merged the base into the branch")
    return _with_lockfiles(mirror, parted, made, tree, taken, manifests_of)


def _conflict(parted: _Parted, reasons: Sequence[str]) -> Synced:
    reason = "; ".join(reason for reason in reasons if reason)
    files = list(parted.merged.files)
    for sha in parted.names:  # git puts a file that stands in a folder's way beside it, under such a name
        files = [path.removesuffix(f"~{sha}") for path in files]
    return Synced("conflict", parted.branch.sha, tuple(dict.fromkeys(files)), reason, marked=parted.merged.tree)


def _with_lockfiles(
    mirror: Mirror, parted: _Parted, made: Synced, tree: str, taken: Taken, manifests_of: ManifestsOf
) -> Synced:
    as_text = merged_as_text(mirror, tree, parted.base.tree, parted.branch.tree, manifests_of) - taken.keys()
    if taken:
        made = replace(made, status="lockfiles", lockfiles=tuple(sorted(taken)))
    return replace(made, merged_lockfiles=tuple(sorted(as_text)))
