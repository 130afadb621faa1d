"""Tasks that nobody moves: in progress without a run, or in review without a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import GitHubError
from agentd.git.naming import branch_of
from agentd.github.claims import remote_claim
from agentd.github.client import GitHub
from agentd.github.pulls import find_pulls
from agentd.supervisor.tasks import status_label, task_id_of
from agentd.supervisor.world import STRAYS_SECONDS

PATIENCE = timedelta(seconds=5 * STRAYS_SECONDS)
"""The supervisor frees stranded issues itself, when their claim is over; after that a person is told."""

MOST = 10
"""Single ones that are told; each takes a request or two."""
TASKS = Code(
    "stranded.tasks",
    "Stranded tasks",
    "an issue is in `status:in-progress`, and no installation works on it: a running supervisor frees it within "
    "minutes",
    "put it back, if no other installation works on it",
)
REVIEW = Code(
    "stranded.review",
    "Stranded reviews",
    "an issue is in `status:in-review`, and no run here has a pull request for it",
    "look for its pull request, or put it back",
)
CODES = (TASKS, REVIEW)


def checks(visit: Visit) -> Iterator[Finding]:
    """Nothing without GitHub's list of issues."""
    github, issues = visit.github, visit.issues
    if github is None or issues is None:
        return
    busy = {run.issue_number for run in visit.active}
    reviewed = {run.issue_number for run in visit.latest.values() if run.pr_number is not None}
    counted = 0
    for issue in issues:
        label = status_label(issue.labels)
        if visit.now - issue.updated_at < PATIENCE or label not in ("status:in-progress", "status:in-review"):
            continue
        if issue.number in (busy if label == "status:in-progress" else reviewed):
            continue
        if counted >= MOST or _elsewhere(visit, github, task_id_of(issue), label):
            continue
        counted += 1
        code = TASKS if label == "status:in-progress" else REVIEW
        change = f"--add-label status:todo --remove-label {label}"
        said = f"#{issue.number} ({task_id_of(issue)}) is in {label} since {issue.updated_at:%Y-%m-%d %H:%M} UTC"
        command = f"gh issue edit {issue.number} --repo {visit.settings.repo} {change}"
        yield code.warn(f"{said}, and nobody works on it", command, subject=f"#{issue.number}")
    if not counted:
        yield TASKS.ok("none")


def _elsewhere(visit: Visit, github: GitHub, task_id: str, label: str) -> bool:
    """Whether another installation works on it: it has the claim, or a pull request is open. What is unknown counts."""
    try:
        if label == "status:in-review":
            return bool(find_pulls(github, branch_of(task_id)))
        claim = remote_claim(github, task_id)
    except GitHubError:
        return True
    mine = visit.store.installation_id() if visit.store else ""
    return claim is not None and claim.installation != mine and claim.until > visit.now
