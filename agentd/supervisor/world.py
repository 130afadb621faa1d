"""What a tick sees: GitHub's issues and the store, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentd.contracts import Contracts, read_contracts
from agentd.github.client import GitHub
from agentd.github.labels import READY
from agentd.github.poller import poll_issues
from agentd.model import Issue, Run, Verdict
from agentd.run.context import Context
from agentd.states import RunState
from agentd.store import holds, runs
from agentd.supervisor.tasks import task_id_of

GITHUB = "github"
"""Scope of the hold while GitHub may not, or cannot, be asked."""
STRAYS_SECONDS = 60.0
"""How often issues in progress that nobody works on are looked for."""


@dataclass(frozen=True)
class World:
    """A snapshot; deciding needs nothing else."""

    issues: dict[int, Issue]
    """open issues with the label agent-ready, by number"""
    contracts: Contracts
    latest: dict[str, Run]
    """each task's newest run"""
    active: list[Run]
    holds: dict[str, Verdict]
    done: frozenset[str]
    """tasks whose dependants may start: pull request merged, or issue closed as completed"""

    def issue_of(self, task_id: str) -> Issue | None:
        """The open issue of a task; of several with one id the oldest."""
        found = [issue for issue in self.issues.values() if task_id_of(issue) == task_id]
        return min(found, key=lambda issue: issue.number, default=None)


def observe(context: Context) -> World:
    """Read issues (one conditional request when nothing changed), contracts and store. Raises GitHubError."""
    issues = {issue.number: issue for issue in poll_issues(context.github, READY)}
    contracts = read_contracts(context.settings.repo_root / "tasks")
    latest = runs.latest_by_task(context.store)
    return World(
        issues,
        contracts,
        latest,
        runs.active_runs(context.store),
        holds.holds(context.store),
        done_tasks(context.github, issues, contracts, latest),
    )


def done_tasks(
    github: GitHub, issues: Mapping[int, Issue], contracts: Contracts, latest: Mapping[str, Run | runs.Last]
) -> frozenset[str]:
    """Tasks whose dependants may start. Closed issues are only asked for when somebody waits for one."""
    merged = {task_id for task_id, run in latest.items() if run.state is RunState.merged}
    here = {task_id_of(issue) for issue in issues.values()}
    wanted = {
        needed
        for task_id in here & contracts.by_id.keys()
        for needed in contracts.by_id[task_id].dependencies
        if needed not in merged and needed not in here
    }
    if wanted:
        for issue in poll_issues(github, READY, "closed"):
            if issue.is_done:
                merged.add(task_id_of(issue))
    return frozenset(merged)
