"""Settings, repository name, contracts and profiles: what is wrong before anything is asked of anybody."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from agentd.doctor.finding import EDIT, Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError
from agentd.supervisor.tasks import TITLE_ID

SETTINGS = Code(
    "configuration.settings",
    "Settings",
    "a setting cannot be used, or the settings file cannot be read",
    "correct what the message names; nothing else is looked at until then",
)
REPO = Code("configuration.repo", "Repo", "no repository is named", "set `REPO`, or `repo` in agentd.toml")
VERIFY = Code(
    "configuration.verify_command",
    "Verify command",
    "issues without a contract cannot start: nothing says when work is good",
    "set `VERIFY_COMMAND`, or `verify_command` in agentd.toml",
)
CONTRACTS = Code(
    "configuration.contracts",
    "Task contracts",
    "a contract in `tasks/` has an error, so its task cannot start",
    "correct the file and place that the message names",
)
PROFILE = Code(
    "configuration.profile",
    "Profile",
    "the profile of tasks without a label is not defined",
    "define it, or set `AGENTD_PROFILE` to one that is",
)
CODES = (SETTINGS, REPO, VERIFY, CONTRACTS, PROFILE)


def unusable(error: ConfigurationError) -> Finding:
    """The one finding when there are no settings at all."""
    said = str(error)
    variables = list(dict.fromkeys(re.findall(r"\(from ([A-Z][A-Z0-9_]*)\)", said)))
    named = re.search(r"[^\s:]+\.toml", said)
    remedy = f"unset {' '.join(variables)}" if variables else f"{EDIT} {named[0] if named else 'agentd.toml'}"
    return SETTINGS.fail(said, remedy, evidence=tuple(said.split("; ")))


def checks(visit: Visit) -> Iterator[Finding]:
    """Everything that can be said of the settings alone."""
    settings, loaded = visit.settings, visit.loaded
    given = sum(origin != "default" for origin in loaded.origins.values())
    yield SETTINGS.ok(f"{loaded.file or 'no agentd.toml here'}, {given} set")
    if settings.repo.count("/") == 1 and all(settings.repo.split("/")):
        yield REPO.ok(settings.repo)
    else:
        said = f"{settings.repo!r} is not owner/name" if settings.repo else "not set"
        yield REPO.fail(said, "export REPO=OWNER/NAME")
    yield from _verify(visit)
    yield from _contracts(visit)
    try:
        profile = settings.profile_named(settings.default_profile)
        yield PROFILE.ok(f"{profile.address} ({profile.adapter})")
    except ConfigurationError as error:
        known = sorted({*settings.profiles, "build"})
        yield PROFILE.fail(str(error), f"export AGENTD_PROFILE={known[0]}", evidence=tuple(known))


def _verify(visit: Visit) -> Iterator[Finding]:
    settings = visit.settings
    if settings.verify_command:
        yield VERIFY.ok(settings.verify_command)
        return
    bare = [issue.number for issue in visit.issues or [] if TITLE_ID.search(issue.title) is None]
    if visit.contracts.by_id and not bare:
        yield VERIFY.ok("not set; every task has a contract")
        return
    yield VERIFY.warn("not set: issues without a contract wait", "export VERIFY_COMMAND='sh check.sh'")


def _contracts(visit: Visit) -> Iterator[Finding]:
    folder = visit.settings.repo_root / "tasks"
    for problem in visit.contracts.problems:
        name = problem.partition(":")[0]
        file = folder / name if name.endswith(".json") else folder
        yield CONTRACTS.fail(problem, f"{EDIT} {shlex.quote(str(file))}", subject=name)
    if not visit.contracts.problems:
        yield CONTRACTS.ok(f"{len(visit.contracts.by_id)} in {folder}, all valid")
