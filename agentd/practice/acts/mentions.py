"""What texts say about issues: mentions, and the words that close them.

https://docs.github.com/en/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
"""

from __future__ import annotations

import re

from agentd.practice.world import Event, Issue, Repo, User, World

TARGET = r"(?:(?P<repo>[\w.-]+/[\w.-]+))?#(?P<number>[0-9]+)\b"
MENTION = re.compile(r"(?<![\w/#&])" + TARGET)
CLOSING = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+" + TARGET, re.IGNORECASE)


def named_issues(world: World, repo: Repo, text: str, pattern: re.Pattern[str]) -> list[Issue]:
    """The issues a text names, in its own or another repository, each once, in order."""
    found: dict[int, Issue] = {}
    for match in pattern.finditer(text):
        where = world.repos.get(match["repo"].lower()) if match["repo"] else repo
        issue = where.issues.get(int(match["number"])) if where else None
        if issue is not None and not issue.deleted:
            found[issue.id] = issue
    return list(found.values())


def closed_by(world: World, repo: Repo, text: str) -> list[Issue]:
    """Issues (no pull requests) that a merged text closes."""
    return [issue for issue in named_issues(world, repo, text, CLOSING) if issue.pull is None]


def cross_reference(world: World, source: Issue, actor: User, text: str) -> None:
    """Leaves a cross-referenced entry in the timeline of every issue that is mentioned for the first time."""
    for issue in named_issues(world, source.repo, text, MENTION):
        known = any(event.extra.get("source") is source for event in issue.events)
        if issue is not source and not known:
            issue.events.append(
                Event(world.next_id(), "cross-referenced", actor, world.now(), None, {"source": source})
            )
            issue.updated_at = world.now()
