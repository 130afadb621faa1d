"""Search of issues and pull requests, as far as tools use it; it is always up to date here, unlike GitHub's."""

from __future__ import annotations

import re
from datetime import datetime

from agentd.practice.refusal import Refused, invalid
from agentd.practice.routing import Call, Reply, paged, route
from agentd.practice.shapes.issues import issue_json
from agentd.practice.world import Issue

TERM = re.compile(r'(-?)(?:([a-z-]+):)?("[^"]*"|\S+)')
SORTS = {"created", "updated", "comments"}
Term = tuple[bool, str, str]


@route("GET", "/search/issues")
async def issues(call: Call) -> Reply:
    query = call.query.get("q", "")
    if not query.strip():
        raise invalid("Search", "q", "missing")
    terms = [(sign == "-", name, value.strip('"')) for sign, name, value in TERM.findall(query)]
    repos = [value.lower() for _, name, value in terms if name == "repo"]
    visible = [repo for repo in call.world.repos.values() if call.world.allows(repo, call.user, "read")]
    chosen = [repo for repo in visible if not repos or repo.full_name.lower() in repos]
    if repos and not chosen:
        message = "The listed users and repositories cannot be searched either because the resources do not exist or "
        message += "you do not have permission to view them."
        raise Refused(
            422, "Validation Failed", [{"message": message, "resource": "Search", "field": "q", "code": "invalid"}]
        )
    rest = [term for term in terms if term[1] not in ("repo", "in", "sort")]
    where = {value for _, name, value in terms if name == "in"} or {"title", "body"}
    found = [issue for repo in chosen for issue in repo.visible_issues() if fits(issue, rest, where)]
    sort = call.query.get("sort", "")
    found.sort(key=lambda issue: order_of(issue, sort), reverse=call.query.get("order", "desc") != "asc")
    return paged(
        call,
        found,
        lambda issue: {**issue_json(call.view, issue), "score": 1.0},
        "items",
        incomplete_results=False,
        search_type="lexical",
    )


def order_of(issue: Issue, sort: str) -> tuple[float, int]:
    if sort == "comments":
        return len(issue.comments), issue.id
    return (issue.updated_at if sort == "updated" else issue.created_at).timestamp(), issue.id


def fits(issue: Issue, terms: list[Term], where: set[str]) -> bool:
    return all(matches(issue, name, value, where) != negated for negated, name, value in terms)


def matches(issue: Issue, name: str, value: str, where: set[str]) -> bool:
    """Whether an issue has what one term asks for."""
    pull, wanted = issue.pull, value.lower()
    if name in ("is", "type", "state"):
        facts = {
            "issue": pull is None,
            "pr": pull is not None,
            "merged": pull is not None and pull.merged_at is not None,
            "unmerged": pull is not None and pull.merged_at is None,
            "draft": pull is not None and pull.draft,
            "locked": issue.locked,
            "public": not issue.repo.private,
            "private": issue.repo.private,
        }
        return facts.get(wanted, issue.state == wanted)
    if name == "label":
        return any(each in [label.name.lower() for label in issue.labels] for each in wanted.split(","))
    if name in ("created", "updated", "closed"):
        return in_time(getattr(issue, f"{name}_at"), value)
    if name == "no":
        return not {"label": issue.labels, "assignee": issue.assignees, "milestone": issue.milestone}.get(wanted)
    values = {
        "head": [pull.head_ref] if pull else [],
        "base": [pull.base_ref] if pull else [],
        "author": [issue.user.login.lower()],
        "assignee": [user.login.lower() for user in issue.assignees],
        "milestone": [issue.milestone.title.lower()] if issue.milestone else [],
        "user": [issue.repo.owner.login.lower()],
        "sha": [pull.head_sha] if pull else [],
    }
    if name:
        return wanted in [each.lower() for each in values.get(name, [])]
    texts = {"title": issue.title, "body": issue.body or "", "comments": " ".join(c.body for c in issue.comments)}
    return any(wanted in texts.get(place, "").lower() for place in where)


def in_time(at: datetime | None, value: str) -> bool:
    """>=, <=, >, < and a date or time."""
    match = re.fullmatch(r"(>=|<=|>|<)?(.+)", value)
    if at is None or match is None:
        return False
    limit = datetime.fromisoformat(match[2].replace("Z", "+00:00")).replace(tzinfo=at.tzinfo)
    tests = {">=": at >= limit, "<=": at <= limit, ">": at > limit, "<": at < limit}
    return tests.get(match[1] or "", at.date() == limit.date())
