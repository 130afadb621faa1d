"""Reviews and requested reviewers."""

from __future__ import annotations

from agentd.practice.acts.announce import announce
from agentd.practice.acts.issues import happened, tell
from agentd.practice.refusal import Refused, check_body, not_found
from agentd.practice.rest.review_comments import add_review_comment
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.people import simple_user
from agentd.practice.shapes.pulls import simple_pull
from agentd.practice.shapes.reviews import review_comment_json, review_json
from agentd.practice.world import Issue, Review, User

ONE = "/pulls/{number}/reviews/{review_id}"
STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def review_of(call: Call) -> tuple[Issue, Review]:
    issue, pull = call.pull()
    for review in pull.reviews:
        if review.id == call.int("review_id"):
            return issue, review
    raise not_found()


@on_repo("GET", "/pulls/{number}/reviews")
async def index(call: Call) -> Reply:
    """Pending ones are seen by their author only."""
    issue, pull = call.pull()
    rows = [review for review in pull.reviews if review.state != "PENDING" or review.user is call.user]
    return paged(call, rows, lambda review: review_json(call.view, issue, review))


@on_repo("POST", "/pulls/{number}/reviews")
async def create(call: Call) -> Reply:
    """Without an event it stays pending."""
    issue, pull = call.pull()
    event, body = call.optional("event", str), call.optional("body", str) or ""
    check_body("PullRequestReview", body)
    review = Review(call.world.next_id(), call.actor, body, "PENDING", pull.head_sha, None)
    review.commit_id = call.optional("commit_id", str) or pull.head_sha
    if event:
        checked_event(call, issue, event, body)
    pull.reviews.append(review)
    for comment in call.optional("comments", list) or []:
        add_review_comment(call, issue, comment, review.id)
    if event:
        submit_review(call, issue, review, event)
    return Reply(review_json(call.view, issue, review))


def checked_event(call: Call, issue: Issue, event: str, body: str) -> None:
    if event not in STATES:
        raise Refused(422, f"Invalid request.\n\nFor 'properties/event', {event!r} is not a possible value.")
    if event != "COMMENT" and issue.user is call.actor:
        what = "approve" if event == "APPROVE" else "request changes on"
        raise Refused(422, "Unprocessable Entity", [f"Can not {what} your own pull request"])
    if event != "APPROVE" and not body.strip() and not call.json.get("comments"):
        raise Refused(422, "Unprocessable Entity", ["Body can not be blank"])


def submit_review(call: Call, issue: Issue, review: Review, event: str) -> None:
    pull = issue.pull
    assert pull is not None
    review.state, review.submitted_at = STATES[event], call.world.now()
    pull.requested = [user for user in pull.requested if user is not review.user]
    issue.updated_at = call.world.now()
    announce(
        call.world,
        call.repo,
        "pull_request_review",
        "submitted",
        call.actor,
        lambda view: {
            "review": review_json(view, issue, review),
            "pull_request": simple_pull(view, call.world, issue),
        },
    )


@on_repo("GET", ONE)
async def get(call: Call) -> Reply:
    return Reply(review_json(call.view, *review_of(call)))


@on_repo("GET", ONE + "/comments")
async def comments(call: Call) -> Reply:
    issue, review = review_of(call)
    assert issue.pull is not None
    rows = [comment for comment in issue.pull.review_comments if comment.review_id == review.id]
    return paged(call, rows, lambda comment: review_comment_json(call.view, issue, comment))


@on_repo("PUT", ONE)
async def edit(call: Call) -> Reply:
    issue, review = review_of(call)
    if review.user is not call.actor:
        call.demand("write")
    review.body = call.required("body", str)
    return Reply(review_json(call.view, issue, review))


@on_repo("POST", ONE + "/events")
async def submit(call: Call) -> Reply:
    issue, review = review_of(call)
    event = call.required("event", str)
    checked_event(call, issue, event, call.optional("body", str) or review.body)
    review.body = call.optional("body", str) or review.body
    submit_review(call, issue, review, event)
    return Reply(review_json(call.view, issue, review))


@on_repo("PUT", ONE + "/dismissals", need="write")
async def dismiss(call: Call) -> Reply:
    issue, review = review_of(call)
    call.required("message", str)
    if review.state not in ("APPROVED", "CHANGES_REQUESTED"):
        raise Refused(422, "Can not dismiss a commented pull request review")
    review.state = "DISMISSED"
    happened(call.world, issue, "review_dismissed", call.actor)
    return Reply(review_json(call.view, issue, review))


@on_repo("GET", "/pulls/{number}/requested_reviewers")
async def requested(call: Call) -> Reply:
    return Reply({"users": [simple_user(call.view, user) for user in call.pull()[1].requested], "teams": []})


@on_repo("POST", "/pulls/{number}/requested_reviewers", need="triage")
async def request(call: Call) -> Reply:
    issue, pull = call.pull()
    for login in call.optional("reviewers", list) or []:
        user = call.world.users.get(str(login).lower())
        if user is None or user not in collaborators(call):
            raise Refused(422, f"Reviews may only be requested from collaborators. {login} is not one.")
        if user is issue.user:
            raise Refused(422, "Review cannot be requested from pull request author.")
        if user not in pull.requested:
            pull.requested.append(user)
            noted(call, issue, "review_requested", user)
            tell(call.world, issue, "review_requested", call.actor)
    return Reply(simple_pull(call.view, call.world, issue), 201)


def noted(call: Call, issue: Issue, event: str, reviewer: User) -> None:
    happened(call.world, issue, event, call.actor, review_requester=call.actor, requested_reviewer=reviewer)


def collaborators(call: Call) -> list[object]:
    return [call.repo.owner, *(call.world.users[login] for login, role in call.repo.roles.items() if role != "none")]


@on_repo("DELETE", "/pulls/{number}/requested_reviewers", need="triage")
async def unrequest(call: Call) -> Reply:
    issue, pull = call.pull()
    going = [str(login).lower() for login in call.required("reviewers", list)]
    for user in [user for user in pull.requested if user.login.lower() in going]:
        pull.requested.remove(user)
        noted(call, issue, "review_request_removed", user)
    return Reply(simple_pull(call.view, call.world, issue))
