"""Pushes with an explicit expected sha: never forced onto a commit that we have not seen."""

from __future__ import annotations

import re

from agentd.errors import AgentdError, GitError
from agentd.git.mirror import EMPTY_TREE, Mirror, fetch_work, is_ancestor, resolve
from agentd.git.naming import branch_of, claim_ref, work_ref


class Outdated(AgentdError):
    """The remote ref is not where it was expected: somebody else moved it."""


class NameTaken(AgentdError):
    """Another branch of the remote leaves no place for this one, as names of files and folders do."""


class RefusedRef(AgentdError):
    """The remote does not take this kind of ref."""


_COLLISION = re.compile(r"'refs/heads/([^']+)' exists; cannot create|directory file conflict|refname conflict")
"""What git says, and GitHub in git's place; the latest git leaves the other name out (refs.c)."""


def name_taken(task_id: str, other: str) -> NameTaken:
    """The error of a task whose branch the branch `other` leaves no place for; empty for one that nobody knows."""
    branch = branch_of(task_id)
    known = f"the branch {other}" if other else f"a branch named as a part of {branch}, or below it,"
    return NameTaken(f"{known} on the remote stands in the way of {branch}; rename or delete it")


def push_branch(mirror: Mirror, task_id: str, sha: str, expected: str | None, claim: str = "") -> None:
    """Set the task's branch to `sha`, only if it is at `expected` now (None: does not exist). Raises Outdated.

    `claim` is sent along, as with every other write of a run. Raises NameTaken where another branch leaves no place.
    """
    try:
        compare_and_push(mirror, f"refs/heads/{branch_of(task_id)}", sha, expected or "", claim)
    except GitError as error:
        if (collision := _COLLISION.search(error.stderr)) is None:
            raise
        raise name_taken(task_id, collision[1] or "") from None


def push_work(mirror: Mirror, task_id: str, sha: str, claim: str) -> None:
    """Keep a run's commit on the remote, so that another host can go on with it; an empty `sha` removes all of them.

    Earlier commits of the run stay reachable: when this process dies before it has recorded the new one, the run goes
    on elsewhere from the one before.
    """
    ref = work_ref(task_id)
    fetch_work(mirror, task_id)
    there = resolve(mirror, ref) or ""
    if there == sha or (there and sha and is_ancestor(mirror, sha, there)):
        return
    tip = _joined(mirror, sha, there) if there and sha else sha
    compare_and_push(mirror, ref, tip, there, claim)
    mirror.git("update-ref", *((ref, tip) if tip else ("-d", ref)))


def _joined(mirror: Mirror, sha: str, earlier: str) -> str:
    """A commit without content that has both as its parents."""
    parents = ("-p", sha, "-p", earlier)
    message = b"What a run has made so far\n"
    return mirror.git("commit-tree", EMPTY_TREE, *parents, stdin=message, environment=mirror.author.environment())


def push_claim(mirror: Mirror, task_id: str, sha: str, expected: str) -> None:
    """Set the task's claim, only if it is at `expected` (empty: create only). Raises Outdated, RefusedRef."""
    compare_and_push(mirror, claim_ref(task_id), sha, expected)


def delete_claim(mirror: Mirror, task_id: str, expected: str) -> None:
    """Remove the task's claim, only if it is at `expected`. Raises Outdated."""
    compare_and_push(mirror, claim_ref(task_id), "", expected)


def compare_and_push(mirror: Mirror, ref: str, sha: str, expected: str, claim: str = "") -> None:
    """Compare-and-swap of one full ref name on the remote; an empty `sha` deletes it."""
    header = (f"http.extraHeader=X-Agentd-Claim: {claim}",) if claim else ()
    try:
        mirror.git(
            "push",
            "--quiet",
            "--porcelain",
            "--no-verify",
            "--atomic",
            f"--force-with-lease={ref}:{expected}",
            mirror.url,
            f"{sha}:{ref}",
            token=mirror.token,
            options=header,
        )
    except GitError as error:
        said = error.stderr
        moved = "cannot lock ref" in said and not _COLLISION.search(said)
        if moved or "stale info" in said or "reference already exists" in said:
            raise Outdated(f"{ref}: not at {expected or 'nothing'} any more on {mirror.url}") from None
        if "remote rejected" in said and not ref.startswith("refs/heads/") and not error.is_passing:
            raise RefusedRef(f"{mirror.url} refuses {ref}: {_reason(said)}") from None
        raise


def claim_commit(mirror: Mirror, message: str, parent: str) -> str:
    """A commit without content that carries a claim as its message."""
    parents = ("-p", parent) if parent else ()
    return mirror.git(
        "commit-tree", EMPTY_TREE, *parents, stdin=message.encode(), environment=mirror.author.environment()
    )


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if "rejected" in line]
    return lines[0].strip() if lines else said.strip()[-200:]
