"""Issue events and the timeline."""

from __future__ import annotations

from agentd.practice.history import read_commit
from agentd.practice.shapes.commits import git_commit_json
from agentd.practice.shapes.issues import comment_json, issue_json
from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.repos import repository
from agentd.practice.shapes.reviews import review_json
from agentd.practice.shapes.view import View, stamp
from agentd.practice.world import Event, Issue, Json, World

TIMELINE_ONLY = ("cross-referenced",)


def event_json(view: View, issue: Issue, event: Event) -> Json:
    """One event with what its kind carries."""
    home = view.api(f"/repos/{issue.repo.full_name}")
    shown: Json = {
        "id": event.id,
        "node_id": f"EV_{event.id}",
        "url": f"{home}/issues/events/{event.id}",
        "actor": simple_user(view, event.actor),
        "event": event.event,
        "commit_id": event.commit_id,
        "commit_url": f"{home}/commits/{event.commit_id}" if event.commit_id else None,
        "created_at": stamp(event.created_at),
        "performed_via_github_app": None,
    }
    extra = event.extra
    if label := extra.get("label"):
        shown["label"] = {"name": label.name, "color": label.color}
    if "rename" in extra:
        shown["rename"] = extra["rename"]
    if "milestone" in extra:
        shown["milestone"] = {"title": extra["milestone"]}
    if "lock_reason" in extra:
        shown["lock_reason"] = extra["lock_reason"]
    if "state_reason" in extra:
        shown["state_reason"] = extra["state_reason"]
    people = ("assignee", "assigner", "review_requester", "requested_reviewer")
    return shown | {name: simple_user(view, extra[name]) for name in people if name in extra}


def events_of(issue: Issue) -> list[Event]:
    return [event for event in issue.events if event.event not in TIMELINE_ONLY]


def timeline(view: View, world: World, issue: Issue, commits: list[str]) -> list[Json]:
    """Everything that happened on an issue in order: events, comments, reviews, and the commits of a pull request."""
    rows: list[tuple[str, int, Json]] = []
    for event in issue.events:
        if event.event == "cross-referenced":
            rows.append((stamp(event.created_at), event.id, cross_reference_json(view, world, event)))
        else:
            rows.append((stamp(event.created_at), event.id, event_json(view, issue, event)))
    for comment in issue.comments:
        shown = comment_json(view, issue, comment)
        shown |= {"event": "commented", "actor": shown["user"]}
        rows.append((stamp(comment.created_at), comment.id, shown))
    for review in issue.pull.reviews if issue.pull else ():
        if review.submitted_at is not None:
            shown = review_json(view, issue, review) | {"event": "reviewed"}
            rows.append((stamp(review.submitted_at), review.id, shown))
    for sha in commits:
        commit = read_commit(issue.repo.git, sha)
        assert commit is not None
        shown = git_commit_json(view, issue.repo, commit) | {"event": "committed"}
        rows.append((stamp(commit.committer.at), 0, shown))
    return [shown for _, _, shown in sorted(rows, key=lambda row: row[:2])]


def cross_reference_json(view: View, world: World, event: Event) -> Json:
    source: Issue = event.extra["source"]
    shown = issue_json(view, source) | {"repository": repository(view, world, source.repo)}
    return {
        "actor": simple_user(view, event.actor),
        "created_at": stamp(event.created_at),
        "updated_at": stamp(event.created_at),
        "event": "cross-referenced",
        "source": {"type": "issue", "issue": shown},
    }
