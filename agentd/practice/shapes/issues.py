"""Issues, labels, milestones, comments, reactions."""

from __future__ import annotations

from collections.abc import Sequence

from agentd.practice.shapes.people import association, maybe_user, simple_user
from agentd.practice.shapes.view import View, stamp, stamp_or_none
from agentd.practice.world import Comment, Issue, Json, Label, Milestone, Reaction, Repo

REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def label_json(view: View, repo: Repo, label: Label) -> Json:
    return {
        "id": label.id,
        "node_id": f"LA_{label.id}",
        "url": view.api(f"/repos/{repo.full_name}/labels/{label.name.replace(' ', '%20')}"),
        "name": label.name,
        "color": label.color,
        "default": label.default,
        "description": label.description,
    }


def milestone_json(view: View, repo: Repo, milestone: Milestone) -> Json:
    address = view.api(f"/repos/{repo.full_name}/milestones/{milestone.number}")
    inside = [issue.state for issue in repo.visible_issues() if issue.milestone is milestone]
    return {
        "url": address,
        "html_url": view.html(f"/{repo.full_name}/milestone/{milestone.number}"),
        "labels_url": f"{address}/labels",
        "id": milestone.id,
        "node_id": f"MI_{milestone.id}",
        "number": milestone.number,
        "title": milestone.title,
        "description": milestone.description,
        "creator": simple_user(view, milestone.creator),
        "open_issues": inside.count("open"),
        "closed_issues": inside.count("closed"),
        "state": milestone.state,
        "created_at": stamp(milestone.created_at),
        "updated_at": stamp(milestone.updated_at),
        "due_on": milestone.due_on,
        "closed_at": stamp_or_none(milestone.closed_at),
    }


def rollup(address: str, reactions: Sequence[Reaction]) -> Json:
    counts = dict.fromkeys(REACTIONS, 0)
    for reaction in reactions:
        counts[reaction.content] += 1
    return {"url": f"{address}/reactions", "total_count": len(reactions), **counts}


def reaction_json(view: View, reaction: Reaction) -> Json:
    return {
        "id": reaction.id,
        "node_id": f"REA_{reaction.id}",
        "user": simple_user(view, reaction.user),
        "content": reaction.content,
        "created_at": stamp(reaction.created_at),
    }


def issue_json(view: View, issue: Issue) -> Json:
    """An issue; a pull request as the issues API shows it, with the key pull_request."""
    repo = issue.repo
    home = view.api(f"/repos/{repo.full_name}")
    address = f"{home}/issues/{issue.number}"
    page = view.html(f"/{repo.full_name}/{'pull' if issue.pull else 'issues'}/{issue.number}")
    assignees = [simple_user(view, user) for user in issue.assignees]
    shown: Json = {
        "url": address,
        "repository_url": home,
        "labels_url": f"{address}/labels{{/name}}",
        "comments_url": f"{address}/comments",
        "events_url": f"{address}/events",
        "html_url": page,
        "id": issue.id,
        "node_id": f"{'PR' if issue.pull else 'I'}_{issue.id}",
        "number": issue.number,
        "title": issue.title,
        "user": simple_user(view, issue.user),
        "labels": [label_json(view, repo, label) for label in issue.labels],
        "state": issue.state,
        "locked": issue.locked,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": milestone_json(view, repo, issue.milestone) if issue.milestone else None,
        "comments": len(issue.comments),
        "created_at": stamp(issue.created_at),
        "updated_at": stamp(issue.updated_at),
        "closed_at": stamp_or_none(issue.closed_at),
        "author_association": association(repo, issue.user),
        "active_lock_reason": issue.lock_reason,
        "body": issue.body,
        "reactions": rollup(address, issue.reactions),
        "timeline_url": f"{address}/timeline",
        "performed_via_github_app": None,
        "state_reason": issue.state_reason,
    }
    if issue.pull:
        shown["draft"] = issue.pull.draft
        shown["pull_request"] = {
            "url": f"{home}/pulls/{issue.number}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": stamp_or_none(issue.pull.merged_at),
        }
    else:
        done = sum(each.state == "closed" for each in issue.sub_issues)
        total = len(issue.sub_issues)
        percent = round(100 * done / total) if total else 0
        shown["sub_issues_summary"] = {"total": total, "completed": done, "percent_completed": percent}
        blockers = sum(each.state == "open" for each in issue.blocked_by)
        shown["issue_dependencies_summary"] = {
            "blocked_by": blockers,
            "total_blocked_by": len(issue.blocked_by),
            "blocking": sum(each.state == "open" for each in issue.blocking),
            "total_blocking": len(issue.blocking),
        }
    return shown


def full_issue(view: View, issue: Issue) -> Json:
    """One issue asked for by number, which also says who closed it."""
    return issue_json(view, issue) | {"closed_by": maybe_user(view, issue.closed_by)}


def comment_json(view: View, issue: Issue, comment: Comment) -> Json:
    home = view.api(f"/repos/{issue.repo.full_name}/issues")
    kind = "pull" if issue.pull else "issues"
    return {
        "url": f"{home}/comments/{comment.id}",
        "html_url": view.html(f"/{issue.repo.full_name}/{kind}/{issue.number}#issuecomment-{comment.id}"),
        "issue_url": f"{home}/{issue.number}",
        "id": comment.id,
        "node_id": f"IC_{comment.id}",
        "user": simple_user(view, comment.user),
        "created_at": stamp(comment.created_at),
        "updated_at": stamp(comment.updated_at),
        "author_association": association(issue.repo, comment.user),
        "body": comment.body,
        "reactions": rollup(f"{home}/comments/{comment.id}", comment.reactions),
        "performed_via_github_app": None,
    }
