"""Issues (and pull requests as far as they are issues): opening, editing, closing, labels, people, milestones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentd.practice.acts.announce import announce
from agentd.practice.acts.mentions import cross_reference
from agentd.practice.refusal import check_body, custom, invalid
from agentd.practice.shapes.issues import comment_json, issue_json, label_json
from agentd.practice.shapes.pulls import simple_pull
from agentd.practice.shapes.view import View
from agentd.practice.world import Comment, Event, Issue, Json, Label, Milestone, Repo, User, World

LONGEST_TITLE = 256
MOST_ASSIGNEES = 10
MOST_LABELS = 100
NEW_LABEL_COLOR = "ededed"


def happened(world: World, issue: Issue, event: str, actor: User, commit_id: str | None = None, **extra: Any) -> Event:
    """Records an event on an issue and moves its updated_at."""
    made = Event(world.next_id(), event, actor, world.now(), commit_id, extra)
    issue.events.append(made)
    issue.updated_at = world.now()
    return made


def tell(world: World, issue: Issue, action: str, actor: User, extra: Json | None = None) -> None:
    """Announces something about an issue under the event that its kind has."""
    if issue.pull is None:
        announce(
            world, issue.repo, "issues", action, actor, lambda view: {"issue": issue_json(view, issue), **(extra or {})}
        )
    else:
        announce(
            world,
            issue.repo,
            "pull_request",
            action,
            actor,
            lambda view: {"number": issue.number, "pull_request": simple_pull(view, world, issue), **(extra or {})},
        )


def check_title(resource: str, title: str) -> str:
    if not title.strip():
        raise invalid(resource, "title", "missing_field")
    if len(title) > LONGEST_TITLE:
        raise custom(resource, f"title is too long (maximum is {LONGEST_TITLE} characters)", "title")
    return title


def open_issue(
    world: World,
    repo: Repo,
    actor: User,
    title: str,
    body: str | None = None,
    labels: Iterable[str] = (),
    assignees: Iterable[User] = (),
    milestone: Milestone | None = None,
) -> Issue:
    """A new issue; labels that the repository does not know are made."""
    check_title("Issue", title)
    check_body("Issue", body)
    issue = Issue(world.next_id(), repo.number(), actor, title, body, world.now(), world.now())
    issue.repo = repo
    repo.issues[issue.number] = issue
    tell(world, issue, "opened", actor)
    add_labels(world, issue, actor, labels)
    add_assignees(world, issue, actor, assignees)
    if milestone:
        set_milestone(world, issue, actor, milestone)
    cross_reference(world, issue, actor, f"{title}\n{body or ''}")
    return issue


def make_label(
    world: World, repo: Repo, name: str, color: str = NEW_LABEL_COLOR, description: str | None = None
) -> Label:
    label = Label(world.next_id(), name, color, description)
    repo.labels[name.lower()] = label
    return label


def add_labels(world: World, issue: Issue, actor: User, names: Iterable[str]) -> None:
    """Adds labels, making unknown ones."""
    for name in names:
        label = issue.repo.labels.get(name.lower()) or make_label(world, issue.repo, name)
        if label not in issue.labels:
            if len(issue.labels) >= MOST_LABELS:
                raise custom("Issue", f"Issues cannot have more than {MOST_LABELS} labels")
            issue.labels.append(label)
            happened(world, issue, "labeled", actor, label=label)
            tell(world, issue, "labeled", actor, {"label": label_json_of(world, issue, label)})


def remove_label(world: World, issue: Issue, actor: User, label: Label) -> None:
    issue.labels.remove(label)
    happened(world, issue, "unlabeled", actor, label=label)
    tell(world, issue, "unlabeled", actor, {"label": label_json_of(world, issue, label)})


def label_json_of(world: World, issue: Issue, label: Label) -> Json:
    return label_json(View(world.origin), issue.repo, label)


def set_labels(world: World, issue: Issue, actor: User, names: Iterable[str]) -> None:
    """Makes the labels exactly these."""
    wanted = list(names)
    kept = {name.lower() for name in wanted}
    for label in list(issue.labels):
        if label.name.lower() not in kept:
            remove_label(world, issue, actor, label)
    add_labels(world, issue, actor, wanted)


def add_assignees(world: World, issue: Issue, actor: User, users: Iterable[User]) -> None:
    for user in users:
        if user not in issue.assignees and len(issue.assignees) < MOST_ASSIGNEES:
            issue.assignees.append(user)
            happened(world, issue, "assigned", actor, assignee=user, assigner=actor)
            tell(world, issue, "assigned", actor)


def remove_assignees(world: World, issue: Issue, actor: User, users: Iterable[User]) -> None:
    for user in users:
        if user in issue.assignees:
            issue.assignees.remove(user)
            happened(world, issue, "unassigned", actor, assignee=user, assigner=actor)
            tell(world, issue, "unassigned", actor)


def set_milestone(world: World, issue: Issue, actor: User, milestone: Milestone | None) -> None:
    if issue.milestone is milestone:
        return
    if issue.milestone:
        happened(world, issue, "demilestoned", actor, milestone=issue.milestone.title)
    issue.milestone = milestone
    if milestone:
        happened(world, issue, "milestoned", actor, milestone=milestone.title)
    tell(world, issue, "milestoned" if milestone else "demilestoned", actor)


def change_title(world: World, issue: Issue, actor: User, title: str) -> None:
    if title == issue.title:
        return
    before, issue.title = issue.title, check_title("PullRequest" if issue.pull else "Issue", title)
    happened(world, issue, "renamed", actor, rename={"from": before, "to": title})
    tell(world, issue, "edited", actor, {"changes": {"title": {"from": before}}})


def change_body(world: World, issue: Issue, actor: User, body: str | None) -> None:
    """An edit of the body; GitHub has no event for it but remembers it (lastEditedAt in GraphQL)."""
    check_body("PullRequest" if issue.pull else "Issue", body)
    if body == issue.body:
        return
    issue.edits.append((world.now(), actor, issue.body))
    before, issue.body = issue.body, body
    issue.updated_at = world.now()
    cross_reference(world, issue, actor, body or "")
    tell(world, issue, "edited", actor, {"changes": {"body": {"from": before or ""}}})


def close(world: World, issue: Issue, actor: User, reason: str | None = None, commit_id: str | None = None) -> None:
    """Closes an issue or pull request; an issue closed without a reason is completed."""
    if issue.state == "closed":
        if reason and issue.pull is None:
            issue.state_reason = reason
        return
    issue.state, issue.closed_at, issue.closed_by = "closed", world.now(), actor
    issue.state_reason = None if issue.pull else reason or "completed"
    happened(world, issue, "closed", actor, commit_id, state_reason=issue.state_reason)
    tell(world, issue, "closed", actor)


def reopen(world: World, issue: Issue, actor: User) -> None:
    if issue.state == "open":
        return
    issue.state, issue.closed_at, issue.closed_by = "open", None, None
    issue.state_reason = None if issue.pull else "reopened"
    happened(world, issue, "reopened", actor)
    tell(world, issue, "reopened", actor)


def add_comment(world: World, issue: Issue, actor: User, body: str) -> Comment:
    if not body.strip():
        raise custom("IssueComment", "body can't be blank", "body")
    check_body("IssueComment", body)
    comment = Comment(world.next_id(), actor, body, world.now(), world.now())
    issue.comments.append(comment)
    issue.updated_at = world.now()
    cross_reference(world, issue, actor, body)
    tell_comment(world, issue, comment, "created", actor)
    return comment


def edit_comment(world: World, issue: Issue, comment: Comment, actor: User, body: str) -> None:
    check_body("IssueComment", body)
    if body != comment.body:
        comment.body, comment.edited_at = body, world.now()
        comment.updated_at = issue.updated_at = world.now()
        tell_comment(world, issue, comment, "edited", actor)


def delete_comment(world: World, issue: Issue, comment: Comment, actor: User) -> None:
    issue.comments.remove(comment)
    happened(world, issue, "comment_deleted", actor)
    tell_comment(world, issue, comment, "deleted", actor)


def tell_comment(world: World, issue: Issue, comment: Comment, action: str, actor: User) -> None:
    announce(
        world,
        issue.repo,
        "issue_comment",
        action,
        actor,
        lambda view: {"issue": issue_json(view, issue), "comment": comment_json(view, issue, comment)},
    )


def transfer_issue(world: World, issue: Issue, repo: Repo, actor: User) -> Issue:
    """The same issue in another repository, without its labels; the old number redirects from now on."""
    made = open_issue(world, repo, issue.user, issue.title, issue.body, ())
    issue.transferred_to, issue.deleted = made, True
    tell(world, issue, "transferred", actor)
    return made


def delete_issue(world: World, issue: Issue, actor: User) -> None:
    """Its number answers 410 from now on."""
    issue.deleted = True
    tell(world, issue, "deleted", actor)
