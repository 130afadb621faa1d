"""The labels, and in which states the labelled issues are: what could start, what waits, and what nobody moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agentd.doctor.finding import Code, Finding, safe
from agentd.doctor.visit import Visit
from agentd.errors import GitHubError
from agentd.github.client import GitHub
from agentd.github.conditional import pages
from agentd.github.issues import blockers
from agentd.github.labels import LABELS, STATUS
from agentd.model import Issue
from agentd.supervisor.tasks import status_label, task_id_of, task_of
from agentd.supervisor.world import done_tasks

MOST_ROOTS = 3
MOST_NAMED = 10
MOST_ASKED = 20
"""Issues without a contract whose blockers are asked for; there is a request for each."""

MISSING = Code(
    "labels.missing", "Labels", "labels that agentd sets are not in the repository", "make them; colours are kept"
)
COUNTS = Code("labels.counts", "Issue status counts", "never: how many issues are in which state", "nothing")
UNCLEAR = Code(
    "labels.unclear",
    "Status labels",
    "an issue has no status label, or several: the gravest counts",
    "leave the one that is meant",
)
READY = Code(
    "labels.ready",
    "Dependency-ready tasks",
    "issues wait in `status:todo`, and every one of them waits for another",
    "finish, or requeue, what they wait for",
)
DEPENDENCIES = Code(
    "labels.dependencies",
    "Tasks blocked by dependencies",
    "tasks in `status:todo` wait for others that are blocked themselves: nothing goes on without a person",
    "requeue what is blocked",
)
ROOTS = Code(
    "labels.blocked_roots",
    "Root tasks blocked",
    "tasks are in `status:blocked` that wait for no other task: only a person can let them go on",
    "read the comment on the issue, mend the cause, and requeue it with the command",
)
CODES = (MISSING, COUNTS, UNCLEAR, READY, DEPENDENCIES, ROOTS)


def checks(visit: Visit) -> Iterator[Finding]:
    """Nothing when GitHub does not answer: the group github says so."""
    github, issues = visit.github, visit.issues
    if github is None or issues is None:
        return
    try:
        yield _missing(visit, github)
        done = done_tasks(github, {issue.number: issue for issue in issues}, visit.contracts, visit.latest)
        waiting = {issue.number: _waits_for(visit, github, issue, done) for issue in _asked(visit, issues)}
    except GitHubError:
        return
    yield COUNTS.ok(_counted(issues))
    yield from _unclear(visit, issues)
    yield from _ready(visit, issues, waiting)
    yield _roots(visit, issues, waiting)


def _missing(visit: Visit, github: GitHub) -> Finding:
    there = {str(item["name"]).casefold() for page in pages(github, f"{github.base}/labels") for item in page.data}
    missing = [label.name for label in LABELS if label.name.casefold() not in there]
    if not missing:
        return MISSING.ok(f"all {len(LABELS)} are there")
    words = ("init", "--labels")
    fix = safe(*visit.argv(*words))
    return MISSING.warn(f"{_named(missing)} missing", visit.agentd(*words), evidence=tuple(missing), fix=fix)


def _counted(issues: list[Issue]) -> str:
    found = Counter(status_label(issue.labels) or "none" for issue in issues)
    words = [f"{label.removeprefix('status:')}={found[label]}" for label in STATUS]
    return ", ".join([*words, *([f"unknown={found['none']}"] if found["none"] else [])])


def _unclear(visit: Visit, issues: list[Issue]) -> Iterator[Finding]:
    unclear = 0
    for issue in issues:
        has = [label for label in STATUS if label in issue.labels]
        if len(has) == 1:
            continue
        unclear += 1
        said = f"has {' and '.join(has)}" if has else "has no status label"
        keep = status_label(issue.labels)
        rest = [label for label in has if label != keep]
        change = [f"--remove-label {label}" for label in rest] or ["--add-label status:todo"]
        yield UNCLEAR.warn(
            f"#{issue.number} {said}",
            f"gh issue edit {issue.number} --repo {visit.settings.repo} {' '.join(change)}",
            subject=f"#{issue.number}",
        )
    if not unclear:
        yield UNCLEAR.ok("every issue has one")


def _asked(visit: Visit, issues: list[Issue]) -> list[Issue]:
    """Issues that wait or are blocked; of those without a contract as many as may be asked for."""
    wanted = [issue for issue in issues if status_label(issue.labels) in ("status:todo", "status:blocked")]
    bare = [issue for issue in wanted if task_id_of(issue) not in visit.contracts.by_id]
    return [issue for issue in wanted if issue not in bare[MOST_ASKED:]]


def _waits_for(visit: Visit, github: GitHub, issue: Issue, done: frozenset[str]) -> list[str]:
    """What an issue waits for: tasks of its contract, or issues that GitHub shows as blocking it."""
    task = task_of(issue, visit.contracts.by_id, visit.settings)
    if task.contract is None:
        return [f"issue-{other.number}" for other in blockers(github, issue.number) if not other.is_done]
    return [needed for needed in task.dependencies if needed not in done]


def _ready(visit: Visit, issues: list[Issue], waiting: dict[int, list[str]]) -> Iterator[Finding]:
    todo = [issue for issue in issues if status_label(issue.labels) == "status:todo"]
    ready = [issue for issue in todo if not waiting.get(issue.number)]
    if ready or not todo:
        yield READY.ok(_named([f"#{issue.number}" for issue in ready]) if ready else "no issue is in status:todo")
    else:
        first = todo[0]
        said = f"all {len(todo)} issues in status:todo wait for others"
        yield READY.warn(said, visit.agentd("why", str(first.number)))
    blocked = {task_id_of(issue) for issue in issues if status_label(issue.labels) == "status:blocked"}
    stuck = {issue.number: found for issue in todo if (found := blocked & set(waiting.get(issue.number, ())))}
    held = [issue for issue in todo if waiting.get(issue.number)]
    if not stuck:
        yield DEPENDENCIES.ok(_named([f"#{issue.number}" for issue in held]) if held else "none")
        return
    said = "; ".join(f"#{number} waits for {_named(sorted(found))}" for number, found in list(stuck.items())[:5])
    numbers = [issue.number for issue in issues if task_id_of(issue) in set().union(*stuck.values())]
    commands = "\n".join(_requeue(visit, number) for number in numbers[:MOST_ROOTS])
    yield DEPENDENCIES.warn(said, commands, evidence=tuple(f"#{number}" for number in stuck))


def _roots(visit: Visit, issues: list[Issue], waiting: dict[int, list[str]]) -> Finding:
    roots = [
        issue for issue in issues if status_label(issue.labels) == "status:blocked" and not waiting.get(issue.number)
    ]
    if not roots:
        return ROOTS.ok("none")
    commands = "\n".join(_requeue(visit, issue.number) for issue in roots[:MOST_ROOTS])
    reasons = []
    for issue in roots[:MOST_NAMED]:
        run = visit.latest.get(task_id_of(issue))
        reasons.append(f"#{issue.number}: {run.state}: {run.reason}" if run else f"#{issue.number}")
    said = _named([f"#{issue.number}" for issue in roots])
    return ROOTS.warn(said, commands, evidence=tuple(reasons))


def _requeue(visit: Visit, number: int) -> str:
    change = "--add-label status:todo --remove-label status:blocked"
    return f"gh issue edit {number} --repo {visit.settings.repo} {change}"


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
