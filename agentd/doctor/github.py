"""Who the token is, what it may do, and what GitHub allows: limits, protection, the time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError, GitHubError, NotFound
from agentd.github.client import GitHub
from agentd.github.identity import check_rights, whoami
from agentd.loading import require_repo
from agentd.model import Decision, Verdict

SKEW = timedelta(seconds=60)
"""From here on times in comments, holds and logs mislead; leases do not depend on it."""
FEW = 0.1
"""Part of the hourly quota that is little."""

TOKEN = Code(
    "github.token",
    "EXECUTOR_BOT_TOKEN",
    "there is no token, or GitHub refuses it",
    "make one, and set `EXECUTOR_BOT_TOKEN`",
)
REACHED = Code("github.reached", "GitHub", "GitHub does not answer, or not with an answer", "look at the network")
IDENTITY = Code("github.identity", "Executor identity", "never: who the token is", "nothing")
ACCESS = Code(
    "github.access",
    "Repo access",
    "the repository is not there, not visible to the token, renamed, archived, or has issues turned off",
    "as the message says",
)
RIGHTS = Code(
    "github.rights", "Write access", "the account or the token's scopes may only read", "give it write access"
)
BASE = Code("github.base_branch", "Base branch", "the base branch is not there", "push it, or set `BASE_BRANCH`")
PROTECTION = Code(
    "github.protection",
    "Branch protection",
    "nothing has to pass before a pull request is merged: the base branch has no required check",
    "protect it; the command does that for a check named `verify`",
)
LIMITS = Code(
    "github.limits",
    "Rate limit",
    "little of the hourly quota of requests is left",
    "wait for the reset, or poll less often",
)
CLOCK = Code("github.clock", "Clock", "this machine's clock is not GitHub's", "set the clock")
CODES = (TOKEN, REACHED, IDENTITY, ACCESS, RIGHTS, BASE, PROTECTION, LIMITS, CLOCK)

_BY_RULE = {"token": TOKEN, "repository": ACCESS, "write_access": RIGHTS, "base_branch": BASE}


def checks(visit: Visit) -> Iterator[Finding]:
    """Everything that a token without special rights can ask."""
    settings, github = visit.settings, None
    try:
        require_repo(settings, token=False)
        github = visit.github
    except ConfigurationError:
        return  # the group configuration says so
    if github is None:
        yield TOKEN.fail("no token: GitHub is not asked", "export EXECUTOR_BOT_TOKEN=TOKEN")
        return
    try:
        verdicts = check_rights(github, settings.base_branch)
        for verdict in verdicts:
            yield _finding(visit, github, verdict)
        if any(verdict.rule_id == "token" and verdict.decision is not Decision.allow for verdict in verdicts):
            return
        me = whoami(github)
        yield IDENTITY.ok(f"{me.login or 'a GitHub App'}{f' ({me.id})' if me.id else ''}")
        if all(verdict.decision is Decision.allow for verdict in verdicts):
            yield _protection(visit, github)
        yield from _limits(visit, github)
    except GitHubError as error:
        yield REACHED.fail(str(error), f"curl -sS -o /dev/null {settings.github_api_url}", subject=settings.repo)


def _finding(visit: Visit, github: GitHub, verdict: Verdict) -> Finding:
    code = _BY_RULE[verdict.rule_id]
    if verdict.decision is Decision.allow:
        return code.ok("set, and GitHub takes it" if code is TOKEN else verdict.observed)
    remedy = _remedy(visit, github, verdict)
    return code.fail(f"{verdict.observed}: {verdict.action}", remedy, evidence=verdict.evidence)


def _remedy(visit: Visit, github: GitHub, verdict: Verdict) -> str:
    repo, said = visit.settings.repo, verdict.observed
    if verdict.rule_id == "base_branch":
        return f"git push {visit.settings.remote_url} HEAD:refs/heads/{visit.settings.base_branch}"
    if verdict.rule_id == "repository":
        if said.endswith("is archived"):
            return f"gh api --method PATCH repos/{repo} -F archived=false"
        if said.endswith("has issues turned off"):
            return f"gh api --method PATCH repos/{repo} -F has_issues=true"
        return f"export REPO={said.rpartition(' is now ')[2] if ' is now ' in said else 'OWNER/NAME'}"
    if verdict.rule_id == "write_access" and "scopes" not in said:
        account = whoami(github).login or "ACCOUNT"
        return f"gh api --method PUT repos/{repo}/collaborators/{account} -f permission=push"
    return "export EXECUTOR_BOT_TOKEN=TOKEN"


def _protection(visit: Visit, github: GitHub) -> Finding:
    repo, base = visit.settings.repo, visit.settings.base_branch
    found = github.request("GET", f"{github.base}/branches/{quote(base)}").data
    required = ((found.get("protection") or {}).get("required_status_checks") or {}).get("contexts") or []
    if found.get("protected") and required:
        return PROTECTION.ok(f"{base} requires {', '.join(str(name) for name in required)}")
    said = "has no required check" if found.get("protected") else "is not protected"
    rules = (
        '{"required_status_checks":{"strict":true,"contexts":["verify"]},"enforce_admins":false,'
        '"required_pull_request_reviews":{"required_approving_review_count":1},"restrictions":null}'
    )
    command = f"echo '{rules}' | gh api --method PUT repos/{repo}/branches/{base}/protection --input -"
    return PROTECTION.warn(f"{base} {said}", command, subject=base)


def _limits(visit: Visit, github: GitHub) -> Iterator[Finding]:
    try:
        answer = github.request("GET", "/rate_limit")
    except NotFound:  # an Enterprise Server that limits nothing
        yield LIMITS.ok("GitHub limits no requests")
        return
    state = answer.data["resources"]["core"]
    left, limit = int(state["remaining"]), int(state["limit"])
    if left < limit * FEW:
        wait = max(1, int(state["reset"] - visit.now.timestamp()))
        yield LIMITS.warn(f"{left} of {limit} requests are left for {wait} s", f"sleep {wait}", subject="core")
    else:
        yield LIMITS.ok(f"{left} of {limit} requests are left")
    date = answer.headers.get("date")
    if date is not None:
        ahead = (visit.clock.now() - parsedate_to_datetime(date)).total_seconds()
        if abs(ahead) > SKEW.total_seconds():
            way = "ahead of" if ahead > 0 else "behind"
            yield CLOCK.warn(f"{abs(ahead):.0f} s {way} GitHub's", "sudo timedatectl set-ntp true")
        else:
            yield CLOCK.ok("as GitHub's, within a minute")
