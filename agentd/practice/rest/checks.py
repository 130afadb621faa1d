"""Check runs and suites. GitHub lets only Apps write them; here everyone with write access may."""

from __future__ import annotations

from agentd.practice.history import read_commit
from agentd.practice.refusal import Refused, invalid, not_found
from agentd.practice.rest.statuses import commit_at
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.commits import person
from agentd.practice.shapes.repos import minimal_repository
from agentd.practice.shapes.view import stamp
from agentd.practice.world import Json

STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
CONCLUSIONS = ("success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required")
TEXTS = ("details_url", "external_id", "started_at", "completed_at", "conclusion", "status", "name")


def run_json(call: Call, run: Json) -> Json:
    address = call.view.api(f"/repos/{call.repo.full_name}/check-runs/{run['id']}")
    page = call.view.html(f"/{call.repo.full_name}/runs/{run['id']}")
    output = {"title": None, "summary": None, "text": None} | run["output"]
    output |= {"annotations_count": 0, "annotations_url": f"{address}/annotations"}
    return {
        **run,
        "node_id": f"CR_{run['id']}",
        "url": address,
        "html_url": page,
        "output": output,
        "check_suite": {"id": run["check_suite"]},
        "app": None,
        "pull_requests": [],
    }


def apply(call: Call, run: Json) -> Json:
    """The fields of the body; a conclusion makes it completed."""
    asked = call.json
    run |= {name: asked[name] for name in TEXTS if asked.get(name) is not None}
    run["output"] |= {name: asked["output"].get(name) for name in ("title", "summary", "text") if asked.get("output")}
    if asked.get("conclusion"):
        run["status"] = "completed"
        run["completed_at"] = asked.get("completed_at") or stamp(call.world.now())
    if run["status"] not in STATUSES or run["conclusion"] not in (None, *CONCLUSIONS):
        raise invalid("CheckRun", "status")
    if run["status"] == "completed" and run["conclusion"] is None:
        raise Refused(422, 'Invalid request.\n\n"conclusion" wasn\'t supplied.')
    return run


@on_repo("POST", "/check-runs", need="write")
async def create(call: Call) -> Reply:
    sha = call.required("head_sha", str)
    if call.repo.git.kind(sha) != (sha, "commit"):
        raise Refused(422, f"No commit found for SHA: {sha}")
    run: Json = {
        "id": call.world.next_id(),
        "head_sha": sha,
        "name": call.required("name", str),
        "status": "queued",
        "conclusion": None,
        "details_url": None,
        "external_id": "",
        "started_at": stamp(call.world.now()),
        "completed_at": None,
        "output": {},
        "check_suite": suite_of(call, sha)["id"],
    }
    call.repo.check_runs.append(apply(call, run))
    return Reply(run_json(call, run), 201)


def suite_of(call: Call, sha: str) -> Json:
    """The suite of a commit, made with its first run."""
    for suite in call.repo.check_suites:
        if suite["head_sha"] == sha:
            return suite
    now = stamp(call.world.now())
    suite = {"id": call.world.next_id(), "head_sha": sha, "created_at": now, "updated_at": now}
    call.repo.check_suites.append(suite)
    return suite


def run_of(call: Call) -> Json:
    for run in call.repo.check_runs:
        if run["id"] == call.int("run_id"):
            return run
    raise not_found()


@on_repo("GET", "/check-runs/{run_id}")
async def get(call: Call) -> Reply:
    return Reply(run_json(call, run_of(call)))


@on_repo("PATCH", "/check-runs/{run_id}", need="write")
async def edit(call: Call) -> Reply:
    run = run_of(call)
    run.update(apply(call, {**run, "output": dict(run["output"])}))
    return Reply(run_json(call, run))


@on_repo("GET", "/commits/{ref*}/check-runs")
async def of_commit(call: Call) -> Reply:
    """By default the newest of each name."""
    sha, query = commit_at(call), call.query
    rows = [run for run in call.repo.check_runs if run["head_sha"] == sha]
    if query.get("filter", "latest") == "latest":
        rows = list({run["name"]: run for run in rows}.values())
    if name := query.get("check_name"):
        rows = [run for run in rows if run["name"] == name]
    if status := query.get("status"):
        rows = [run for run in rows if run["status"] == status]
    return paged(call, rows, lambda run: run_json(call, run), "check_runs")


@on_repo("GET", "/commits/{ref*}/check-suites")
async def suites(call: Call) -> Reply:
    sha = commit_at(call)
    rows = [suite for suite in call.repo.check_suites if suite["head_sha"] == sha]
    return paged(call, rows, lambda suite: suite_json(call, suite), "check_suites")


def suite_json(call: Call, suite: Json) -> Json:
    runs = [run for run in call.repo.check_runs if run["check_suite"] == suite["id"]]
    done = all(run["status"] == "completed" for run in runs)
    failed = any(run["conclusion"] not in ("success", "neutral", "skipped") for run in runs)
    address = call.view.api(f"/repos/{call.repo.full_name}/check-suites/{suite['id']}")
    return {
        **suite,
        "node_id": f"CS_{suite['id']}",
        "head_branch": None,
        "status": "completed" if done else "in_progress",
        "conclusion": ("failure" if failed else "success") if done else None,
        "url": address,
        "before": None,
        "after": suite["head_sha"],
        "pull_requests": [],
        "app": None,
        "repository": minimal_repository(call.view, call.repo),
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{address}/check-runs",
        "head_commit": head_commit(call, suite["head_sha"]),
    }


def head_commit(call: Call, sha: str) -> Json:
    commit = read_commit(call.repo.git, sha)
    assert commit is not None
    author, committer = person(commit.author), person(commit.committer)
    shown = {"id": sha, "tree_id": commit.tree, "message": commit.message, "timestamp": committer["date"]}
    names = ("name", "email")
    return shown | {"author": {k: author[k] for k in names}, "committer": {k: committer[k] for k in names}}
