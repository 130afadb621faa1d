"""Reviews and their comments."""

from __future__ import annotations

from agentd.practice.shapes.issues import rollup
from agentd.practice.shapes.people import association, simple_user
from agentd.practice.shapes.view import View, stamp
from agentd.practice.world import Issue, Json, Review, ReviewComment


def review_json(view: View, issue: Issue, review: Review) -> Json:
    address = view.api(f"/repos/{issue.repo.full_name}/pulls/{issue.number}")
    page = view.html(f"/{issue.repo.full_name}/pull/{issue.number}#pullrequestreview-{review.id}")
    shown = {
        "id": review.id,
        "node_id": f"PRR_{review.id}",
        "user": simple_user(view, review.user),
        "body": review.body,
        "state": review.state,
        "html_url": page,
        "pull_request_url": address,
        "author_association": association(issue.repo, review.user),
        "_links": {"html": {"href": page}, "pull_request": {"href": address}},
        "commit_id": review.commit_id,
    }
    return shown | ({"submitted_at": stamp(review.submitted_at)} if review.submitted_at else {})


def review_comment_json(view: View, issue: Issue, comment: ReviewComment) -> Json:
    home = view.api(f"/repos/{issue.repo.full_name}/pulls")
    address, pull = f"{home}/comments/{comment.id}", f"{home}/{issue.number}"
    page = view.html(f"/{issue.repo.full_name}/pull/{issue.number}#discussion_r{comment.id}")
    shown: Json = {
        "url": address,
        "pull_request_review_id": comment.review_id,
        "id": comment.id,
        "node_id": f"PRRC_{comment.id}",
        "diff_hunk": comment.diff_hunk,
        "path": comment.path,
        "position": comment.line,
        "original_position": comment.line or 1,
        "commit_id": comment.commit_id,
        "original_commit_id": comment.commit_id,
        "user": simple_user(view, comment.user),
        "body": comment.body,
        "created_at": stamp(comment.created_at),
        "updated_at": stamp(comment.updated_at),
        "html_url": page,
        "pull_request_url": pull,
        "author_association": association(issue.repo, comment.user),
        "_links": {"self": {"href": address}, "html": {"href": page}, "pull_request": {"href": pull}},
        "reactions": rollup(address, comment.reactions),
        "start_line": None,
        "original_start_line": None,
        "start_side": None,
        "line": comment.line or 1,
        "original_line": comment.line or 1,
        "side": comment.side,
        "subject_type": "line" if comment.line else "file",
    }
    return shown | ({"in_reply_to_id": comment.in_reply_to} if comment.in_reply_to else {})
