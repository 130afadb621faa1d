"""The task's commits made again on the base, one by one, as `git rebase` would, without a tree or an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentd.git.commits import Commit, recommit, throw_away
from agentd.git.lock_conflicts import ManifestsOf, Refusal, Taken, erased, takeable
from agentd.git.merging import Merged, merge, printable
from agentd.git.mirror import Mirror
from agentd.git.trees import entries, with_entries


@dataclass(frozen=True)
class Picked:
    """The new end of the branch."""

    sha: str
    tree: str
    dropped: tuple[str, ...]
    """commits whose change the base had already"""
    taken: Taken


def pick(
    mirror: Mirror,
    commits: Sequence[tuple[Commit, Commit]],
    landed: frozenset[str],
    base: Commit,
    manifests_of: ManifestsOf,
) -> Picked | Refusal:
    """Each commit, given with its parent, on top of the base; a refusal when one does not go there.

    A commit that was empty stays, one whose change is on the base already is left out. A commit whose change was to
    a lockfile that is now upstream's stays too, empty, so that what it says is not lost.
    """
    tip, tree = base.sha, base.tree
    dropped: list[str] = []
    taken: Taken = {}
    for commit, parent in commits:
        if commit.tree == parent.tree:
            tip = recommit(mirror, commit, tree, tip)
            continue
        if commit.sha in landed:
            dropped.append(commit.sha)
            continue
        merged = _picked(mirror, commit, parent, tree)
        if merged.clean and merged.tree == tree:
            dropped.append(commit.sha)
            continue
        here: Taken = {}
        if not merged.clean:
            found = takeable(mirror, merged, 2, base.tree, manifests_of)
            if isinstance(found, Refusal):
                return found
            here = found
        after = _with_taken(mirror, merged.tree, taken, here)
        if isinstance(after, Refusal):
            return after
        taken = {**here, **taken}
        tree = after
        tip = recommit(mirror, commit, tree, tip)
    shas = [commit.sha for commit, _ in commits]
    return erased(mirror, taken, base.tree, tree, shas, manifests_of) or Picked(tip, tree, tuple(dropped), taken)


def _picked(mirror: Mirror, commit: Commit, parent: Commit, tree: str) -> Merged:
    """The commit's change applied to `tree`: a merge whose base is the commit's parent.

    git 2.40 takes `--merge-base`; for older ones a commit of `tree` on that parent says the same.
    """
    if tree == parent.tree:
        return Merged(commit.tree)
    return merge(mirror, throw_away(mirror, tree, parent.sha), commit.sha)


def _with_taken(mirror: Mirror, tree: str, before: Taken, here: Taken) -> str | Refusal:
    """The merge's tree with upstream's lockfiles; later commits must not write on top of those that were taken."""
    if before:
        standing = entries(mirror, tree, before.keys())
        for path, entry in before.items():
            if entry is not None and path not in standing and path not in here:
                return Refusal(f"the task moves or deletes the lockfile {printable(path)} after having changed it")
        here = {**here, **{path: entry for path, entry in before.items() if standing.get(path) != entry}}
    return with_entries(mirror, tree, here)
