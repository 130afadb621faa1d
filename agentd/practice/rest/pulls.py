"""Pull requests: list, open, get, edit, files, commits."""

from __future__ import annotations

from agentd.practice.acts.issues import change_body, change_title, close, reopen, tell
from agentd.practice.acts.pulls import head_of, open_pull, refuse_twin, worked_out
from agentd.practice.acts.refs import follow_heads
from agentd.practice.history import changes, merge_base, shas_between
from agentd.practice.refusal import Refused, custom, invalid
from agentd.practice.rest.commits import shown as shown_commit
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.commits import file_json
from agentd.practice.shapes.pulls import full_pull, simple_pull
from agentd.practice.world import Issue, Pull


async def full(call: Call, issue: Issue, status: int = 200) -> Reply:
    data = full_pull(call.view, call.world, issue, await worked_out(call.world, issue, call.method == "GET"))
    return Reply(data, status, modified=issue.updated_at)


@on_repo("GET", "/pulls")
async def index(call: Call) -> Reply:
    """By state, base, head (owner:branch), sorted by created, updated, popularity or long-running."""
    await follow_heads(call.world, call.repo)
    query, rows = call.query, call.repo.pulls()
    if (state := query.get("state", "open")) != "all":
        rows = [row for row in rows if row[0].state == state]
    if base := query.get("base"):
        rows = [row for row in rows if row[1].base_ref == base]
    if ":" in (head := query.get("head", "")):
        rows = [row for row in rows if f"{row[1].head_repo.owner.login}:{row[1].head_ref}".lower() == head.lower()]
    sort = query.get("sort", "created")
    descending = query.get("direction", "desc" if sort == "created" else "asc") == "desc"
    rows.sort(key=lambda row: sort_key(row[0], sort), reverse=descending)
    return paged(call, rows, lambda row: simple_pull(call.view, call.world, row[0]))


def sort_key(issue: Issue, sort: str) -> tuple[float, int]:
    if sort == "popularity":
        return len(issue.comments), issue.number
    at = issue.updated_at if sort == "updated" else issue.created_at
    return at.timestamp(), issue.number


@on_repo("POST", "/pulls")
async def create(call: Call) -> Reply:
    """A caller without write access may open one from a fork."""
    head, base = call.required("head", str), call.required("base", str)
    if call.optional("head_repo", str) and ":" not in head:
        head = f"{call.required('head_repo', str).split('/')[0]}:{head}"
    if head_of(call.world, call.repo, head)[0] is call.repo:
        call.demand("write")
    title, body = call.required("title", str), call.optional("body", str)
    draft = bool(call.json.get("draft"))
    issue = await open_pull(call.world, call.repo, call.actor, head, base, title, body, draft)
    return await full(call, issue, 201)


@on_repo("GET", "/pulls/{number}")
async def get(call: Call) -> Reply:
    """Head as it is now. With the diff or patch media type the text."""
    issue, pull = call.pull()
    await follow_heads(call.world, call.repo)
    accept = call.headers.get("Accept", "")
    for kind, options in (("diff", ["diff"]), ("patch", ["format-patch", "--stdout"])):
        if accept.endswith((f".{kind}", f".{kind}+json")):
            fork = await fork_point(issue, pull)
            text = await call.repo.git.git(*options, f"{fork}..{pull.head_sha}")
            return Reply(text, headers={"Content-Type": f"application/vnd.github.{kind}; charset=utf-8"})
    return await full(call, issue)


async def fork_point(issue: Issue, pull: Pull) -> str:
    return await merge_base(issue.repo.git, pull.base_sha, pull.head_sha) or pull.base_sha


@on_repo("PATCH", "/pulls/{number}")
async def edit(call: Call) -> Reply:
    issue, pull = call.pull()
    world, actor, asked = call.world, call.actor, call.json
    if actor is not issue.user:
        call.demand("triage")
    state = asked.get("state")
    if state not in (None, "open", "closed"):
        raise invalid("PullRequest", "state", value=state)
    if base := call.optional("base", str):
        move_base(call, issue, pull, base)
    if asked.get("title") is not None:
        change_title(world, issue, actor, call.required("title", str))
    if "body" in asked:
        change_body(world, issue, actor, call.optional("body", str))
    if "maintainer_can_modify" in asked:
        pull.maintainer_can_modify = bool(asked["maintainer_can_modify"])
    if state == "closed":
        close(world, issue, actor)
    elif state == "open" and issue.state == "closed":
        refuse_reopen(issue, pull)
        reopen(world, issue, actor)
    return await full(call, issue)


def move_base(call: Call, issue: Issue, pull: Pull, base: str) -> None:
    sha = call.repo.git.branch(base)
    if sha is None:
        raise invalid("PullRequest", "base")
    if base != pull.base_ref:
        before, pull.base_ref, pull.base_sha = pull.base_ref, base, sha
        issue.updated_at = call.world.now()
        tell(call.world, issue, "edited", call.actor, {"changes": {"base": {"ref": {"from": before}}}})


def refuse_reopen(issue: Issue, pull: Pull) -> None:
    """A merged one stays closed; one without its branch or with a twin cannot be opened again."""
    if pull.merged_at:
        raise custom("PullRequest", "Cannot reopen a merged pull request.", "state")
    if pull.head_repo.git.branch(pull.head_ref) is None:
        raise custom("PullRequest", f"state cannot be changed. The {pull.head_ref} branch has been deleted.", "state")
    refuse_twin(issue.repo, pull.head_repo, pull.head_ref, pull.base_ref)


@on_repo("GET", "/pulls/{number}/files")
async def files(call: Call) -> Reply:
    issue, pull = call.pull()
    await follow_heads(call.world, call.repo)
    rows = await changes(call.repo.git, await fork_point(issue, pull), pull.head_sha)
    return paged(call, rows, lambda change: file_json(call.view, call.repo, change, pull.head_sha))


@on_repo("GET", "/pulls/{number}/commits")
async def commits(call: Call) -> Reply:
    issue, pull = call.pull()
    await follow_heads(call.world, call.repo)
    rows = await shas_between(call.repo.git, await fork_point(issue, pull), pull.head_sha)
    return paged(call, rows, lambda sha: shown_commit(call, sha))


@on_repo("GET", "/commits/{sha}/pulls")
async def of_commit(call: Call) -> Reply:
    """Open pull requests that have the commit, and merged ones that brought it."""
    sha = call.repo.git.commit_of(call.args["sha"])
    if sha is None:
        raise Refused(422, f"No commit found for SHA: {call.args['sha']}")
    found = []
    for issue, pull in call.repo.pulls():
        brought = await shas_between(call.repo.git, await fork_point(issue, pull), pull.head_sha)
        if sha in brought or sha == pull.merge_commit_sha:
            found.append(issue)
    return paged(call, found, lambda issue: simple_pull(call.view, call.world, issue))
