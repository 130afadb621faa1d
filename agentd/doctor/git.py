"""git and what is kept in it: the mirror, workspaces, branches on the remote, and work that waits to be looked at."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import GitError
from agentd.git.branches import remote_branches
from agentd.git.mirror import Mirror, require_whole
from agentd.git.naming import task_of
from agentd.git.removal import GONE
from agentd.git.salvage import salvages
from agentd.states import ACTIVE, RunState
from agentd.supervisor.tasks import status_label, task_id_of

OLDEST = (2, 38)
"""`git merge-tree --write-tree` works out a merge without a working tree since then."""
MOST = 5
"""Single things that have a finding each; the others are counted."""

VERSION = Code("git.version", "git", "there is no git, or one older than 2.38", "install a newer one")
MIRROR = Code(
    "git.mirror",
    "Mirror",
    "the mirror lacks history, or promises objects that another repository has",
    "move it away: agentd fetches another",
)
WORKSPACES = Code(
    "git.workspaces",
    "Workspaces",
    "a folder among the workspaces belongs to no run that the store knows",
    "look what is in it; the command moves it out of the way",
)
BRANCHES = Code(
    "git.branches",
    "Remote branches",
    "a branch `agent/...` belongs to no run that the store knows, or its merged run did not leave it at this commit",
    "look what is on it; the commands keep its commit on a ref of agentd, and delete the branch",
)
SALVAGE = Code(
    "git.salvage",
    "Salvage",
    "work of runs that did not reach a pull request waits for somebody to look at it",
    "`agentd salvage show`, then drop it",
)
CODES = (VERSION, MIRROR, WORKSPACES, BRANCHES, SALVAGE)


def checks(visit: Visit) -> Iterator[Finding]:
    """What there is no mirror for yet is not looked at."""
    version = _version(visit)
    yield version
    if version.level == "fail":
        return
    yield from _workspaces(visit)
    mirror = visit.mirror
    if mirror is None:
        yield MIRROR.ok("not there yet; the first run makes it")
        return
    try:
        require_whole(mirror)
    except GitError as error:
        path = shlex.quote(str(mirror.path))
        yield MIRROR.fail(str(error), f"mv {path} {path}.shallow")
        return
    yield MIRROR.ok(str(mirror.path))
    yield from _salvage(visit, mirror)
    yield from _branches(visit, mirror)


def _version(visit: Visit) -> Finding:
    try:
        told = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, env=dict(visit.environ))
    except (OSError, subprocess.TimeoutExpired):
        return VERSION.fail("there is no git on PATH", "sudo apt-get install git")
    found = re.search(r"(\d+)\.(\d+)", told.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        return VERSION.fail(f"{told.stdout.strip()}, 2.38 or later is needed", "sudo apt-get install git")
    return VERSION.ok(told.stdout.strip().removeprefix("git version "))


def _workspaces(visit: Visit) -> Iterator[Finding]:
    folder = visit.settings.workspaces
    if visit.store is None or not folder.is_dir():
        return
    known = set(visit.latest)
    there = [place for place in folder.iterdir() if place.is_dir() and not place.name.startswith((".", GONE))]
    strange = sorted(place for place in there if place.name not in known)
    for place in strange[:MOST]:
        away = folder.with_name(f"{folder.name}.unknown") / place.name
        command = f"mkdir -p {shlex.quote(str(away.parent))} && mv {shlex.quote(str(place))} {shlex.quote(str(away))}"
        yield WORKSPACES.warn(f"{place} belongs to no run that the store knows", command, subject=place.name)
    if not strange:
        yield WORKSPACES.ok(f"{len(there)} in {folder}")


def _salvage(visit: Visit, mirror: Mirror) -> Iterator[Finding]:
    waiting = [
        one
        for one in salvages(mirror)
        if (run := visit.latest.get(one.manifest.task_id)) is None or run.state is not RunState.merged
    ]
    if not waiting:
        yield SALVAGE.ok("nothing waits")
        return
    said = f"the work of {len(waiting)} runs waits, the oldest since {waiting[0].at:%Y-%m-%d}"
    first = waiting[0].name
    commands = f"{visit.agentd('salvage', 'show', first)}\n{visit.agentd('salvage', 'drop', '--yes', first)}"
    yield SALVAGE.warn(said, commands, evidence=tuple(one.ref for one in waiting[:50]))


def _branches(visit: Visit, mirror: Mirror) -> Iterator[Finding]:
    """By commit and not by name alone: a merged branch that somebody pushed to has work that is nowhere else."""
    if visit.store is None or visit.issues is None:
        return
    elsewhere = {
        task_id_of(issue)
        for issue in visit.issues
        if status_label(issue.labels) in ("status:in-progress", "status:in-review")
    }
    try:
        there = remote_branches(mirror)
    except GitError as error:
        yield BRANCHES.fail(f"the remote cannot be asked: {error}", f"git ls-remote {mirror.url} HEAD")
        return
    strange = []
    for branch, sha in there.items():
        task_id = task_of(branch) or ""
        run = visit.latest.get(task_id)
        if run is None and task_id not in elsewhere:
            strange.append((branch, "belongs to no run that the store knows"))
        elif run is not None and run.state is RunState.merged and run.head_sha and run.head_sha != sha:
            strange.append((branch, f"was merged at {run.head_sha[:12]}, and is at {sha[:12]}"))
    for branch, why in strange[:MOST]:
        refs = f"repos/{visit.settings.repo}/git/refs"
        keep = f"gh api --method POST {refs} -f ref=refs/agentd/kept/{there[branch][:12]} -f sha={there[branch]}"
        command = f"{keep}\ngh api --method DELETE {refs}/heads/{branch}"
        yield BRANCHES.warn(f"{branch} {why}", command, subject=branch)
    if len(strange) > MOST:
        more = f"{len(strange) - MOST} more branches belong to no run"
        yield BRANCHES.warn(more, f"git ls-remote {mirror.url} 'refs/heads/agent/*'", subject="more")
    if not strange:
        active = sum(run.state in ACTIVE for run in visit.latest.values())
        yield BRANCHES.ok(f"{len(there)} of agentd's, {active} tasks under way")
