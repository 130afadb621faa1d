"""Statuses, check runs and branch protection: what a commit has passed and what a merge still lacks."""

from __future__ import annotations

from agentd.practice.world import Issue, Json, Repo, Review

PASSING = ("success", "neutral", "skipped")


def latest_statuses(repo: Repo, sha: str) -> list[Json]:
    """The newest status of each context, in the order in which the contexts first appeared."""
    newest: dict[str, Json] = {}
    for status in repo.statuses.get(sha, []):
        newest[status["context"]] = status
    return list(newest.values())


def combined_state(repo: Repo, sha: str) -> str:
    """success, failure or pending; pending when there is no status."""
    states = {status["state"] for status in latest_statuses(repo, sha)}
    if states & {"failure", "error"}:
        return "failure"
    return "pending" if not states or "pending" in states else "success"


def results(repo: Repo, sha: str) -> dict[str, str]:
    """By context or check name: success, failure or pending."""
    found = {status["context"]: status["state"] for status in latest_statuses(repo, sha)}
    for run in repo.check_runs:
        if run["head_sha"] == sha:
            done = run["status"] == "completed"
            found[run["name"]] = ("success" if run["conclusion"] in PASSING else "failure") if done else "pending"
    return {name: "failure" if state == "error" else state for name, state in found.items()}


def verdict(repo: Repo, sha: str) -> str | None:
    """All results of a commit in one word; None when there are none."""
    states = set(results(repo, sha).values())
    return next((state for state in ("failure", "pending", "success") if state in states), None)


def latest_opinions(reviews: list[Review]) -> dict[int, str]:
    """The last approval, request or dismissal of each reviewer, by user id; comments do not count."""
    opinions = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
    return {review.user.id: review.state for review in reviews if review.state in opinions}


async def missing_for_merge(issue: Issue, base: str) -> str | None:
    """Why branch protection refuses a merge at this base commit, in GitHub's words; None when it does not."""
    pull, rules = issue.pull, issue.repo.protections.get(issue.pull.base_ref if issue.pull else "")
    if pull is None or rules is None:
        return None
    checks = rules.get("required_status_checks")
    if checks:
        found = results(issue.repo, pull.head_sha)
        lacking = [name for name in checks["contexts"] if found.get(name) != "success"]
        if lacking:
            failing = [name for name in lacking if found.get(name) == "failure"]
            state = "failing" if failing else "expected"
            return f'Required status check "{(failing or lacking)[0]}" is {state}.'
        if checks["strict"] and not await issue.repo.git.is_ancestor(base, pull.head_sha):
            return "Head branch is out of date. Review and try the merge again."
    reviews = rules.get("required_pull_request_reviews")
    if reviews:
        opinions = list(latest_opinions(pull.reviews).values())
        needed = reviews.get("required_approving_review_count", 1)
        if "CHANGES_REQUESTED" in opinions:
            return "Changes have been requested."
        if opinions.count("APPROVED") < needed:
            return f"At least {needed} approving review is required by reviewers with write access."
    return None
