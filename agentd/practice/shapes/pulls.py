"""Pull requests."""

from __future__ import annotations

from agentd.practice.shapes.issues import label_json, milestone_json
from agentd.practice.shapes.people import association, maybe_user, simple_user
from agentd.practice.shapes.repos import repository
from agentd.practice.shapes.view import View, stamp, stamp_or_none
from agentd.practice.world import Issue, Json, Repo, World


def side(view: View, world: World, repo: Repo, ref: str, sha: str) -> Json:
    return {
        "label": f"{repo.owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": simple_user(view, repo.owner),
        "repo": repository(view, world, repo),
    }


def simple_pull(view: View, world: World, issue: Issue) -> Json:
    """A pull request as lists have it, without anything that has to be worked out from git."""
    pull, repo = issue.pull, issue.repo
    assert pull is not None
    home, page = view.api(f"/repos/{repo.full_name}"), view.html(f"/{repo.full_name}/pull/{issue.number}")
    address, thread = f"{home}/pulls/{issue.number}", f"{home}/issues/{issue.number}"
    links = {
        "self": address,
        "html": page,
        "issue": thread,
        "comments": f"{thread}/comments",
        "review_comments": f"{address}/comments",
        "review_comment": f"{home}/pulls/comments{{/number}}",
        "commits": f"{address}/commits",
        "statuses": f"{home}/statuses/{pull.head_sha}",
    }
    assignees = [simple_user(view, user) for user in issue.assignees]
    return {
        "url": address,
        "id": pull.id,
        "node_id": f"PR_{issue.id}",
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": thread,
        "number": issue.number,
        "state": issue.state,
        "locked": issue.locked,
        "active_lock_reason": issue.lock_reason,
        "title": issue.title,
        "user": simple_user(view, issue.user),
        "body": issue.body,
        "created_at": stamp(issue.created_at),
        "updated_at": stamp(issue.updated_at),
        "closed_at": stamp_or_none(issue.closed_at),
        "merged_at": stamp_or_none(pull.merged_at),
        "merge_commit_sha": pull.merge_commit_sha,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "requested_reviewers": [simple_user(view, user) for user in pull.requested],
        "requested_teams": [],
        "labels": [label_json(view, repo, label) for label in issue.labels],
        "milestone": milestone_json(view, repo, issue.milestone) if issue.milestone else None,
        "draft": pull.draft,
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "head": side(view, world, pull.head_repo, pull.head_ref, pull.head_sha),
        "base": side(view, world, repo, pull.base_ref, pull.base_sha),
        "_links": {name: {"href": link} for name, link in links.items()},
        "author_association": association(repo, issue.user),
        "auto_merge": None,
    }


def full_pull(view: View, world: World, issue: Issue, worked_out: Json) -> Json:
    """One pull request; `worked_out` has mergeable, mergeable_state, commits, additions, deletions, changed_files."""
    assert issue.pull is not None
    return simple_pull(view, world, issue) | {
        "merged": issue.pull.merged_at is not None,
        "merged_by": maybe_user(view, issue.pull.merged_by),
        "comments": len(issue.comments),
        "review_comments": len(issue.pull.review_comments),
        "maintainer_can_modify": issue.pull.maintainer_can_modify,
        "rebaseable": worked_out["mergeable"],
        **worked_out,
    }
