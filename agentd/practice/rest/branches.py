"""Branches and their protection."""

from __future__ import annotations

from urllib.parse import quote

from agentd.practice.acts.refs import HEADS
from agentd.practice.history import read_commit
from agentd.practice.refusal import Refused
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.commits import commit_json
from agentd.practice.world import Json

PROTECTION = "/branches/{branch*}/protection"
SWITCHES = (
    "required_linear_history",
    "allow_force_pushes",
    "allow_deletions",
    "block_creations",
    "required_conversation_resolution",
    "lock_branch",
    "allow_fork_syncing",
)


def protection_url(call: Call, branch: str) -> str:
    return call.view.api(f"/repos/{call.repo.full_name}/branches/{quote(branch)}/protection")


def brief(call: Call, branch: str) -> Json:
    """Protection as it stands within a branch."""
    checks = (call.repo.protections.get(branch) or {}).get("required_status_checks")
    contexts = checks["contexts"] if checks else []
    level = "non_admins" if checks else "off"
    required = {"enforcement_level": level, "contexts": contexts, "checks": as_checks(contexts)}
    return {"enabled": branch in call.repo.protections, "required_status_checks": required}


def as_checks(contexts: list[str]) -> list[Json]:
    return [{"context": name, "app_id": None} for name in contexts]


@on_repo("GET", "/branches")
async def index(call: Call) -> Reply:
    heads = await call.repo.git.refs(HEADS)
    rows = [(name.removeprefix(HEADS), sha) for name, sha in heads.items()]
    if (wanted := call.query.get("protected")) is not None:
        rows = [row for row in rows if (row[0] in call.repo.protections) == (wanted == "true")]
    home = call.view.api(f"/repos/{call.repo.full_name}/commits")

    def shown(row: tuple[str, str]) -> Json:
        name, sha = row
        return {
            "name": name,
            "commit": {"sha": sha, "url": f"{home}/{sha}"},
            "protected": name in call.repo.protections,
            "protection": brief(call, name),
            "protection_url": protection_url(call, name),
        }

    return paged(call, rows, shown)


def checked_branch(call: Call) -> str:
    branch = call.args["branch"]
    if call.repo.git.branch(branch) is None:
        raise Refused(404, "Branch not found")
    return branch


@on_repo("GET", PROTECTION, need="admin")
async def get_protection(call: Call) -> Reply:
    return Reply(full(call, protected(call)))


def protected(call: Call) -> str:
    branch = checked_branch(call)
    if branch not in call.repo.protections:
        raise Refused(404, "Branch not protected")
    return branch


def full(call: Call, branch: str) -> Json:
    rules, address = call.repo.protections[branch], protection_url(call, branch)
    shown: Json = {"url": address}
    if checks := rules.get("required_status_checks"):
        here = f"{address}/required_status_checks"
        listed = {"checks": as_checks(checks["contexts"]), "contexts_url": f"{here}/contexts"}
        shown["required_status_checks"] = {"url": here, **checks, **listed}
    if reviews := rules.get("required_pull_request_reviews"):
        shown["required_pull_request_reviews"] = {"url": f"{address}/required_pull_request_reviews", **reviews}
    enforced = bool(rules.get("enforce_admins"))
    shown["enforce_admins"] = {"url": f"{address}/enforce_admins", "enabled": enforced}
    return shown | {name: {"enabled": bool(rules.get(name))} for name in SWITCHES}


@on_repo("PUT", PROTECTION, need="admin")
async def put_protection(call: Call) -> Reply:
    branch, asked = checked_branch(call), call.json
    needed = ("required_status_checks", "enforce_admins", "required_pull_request_reviews", "restrictions")
    lacking = [name for name in needed if name not in asked]
    if lacking:
        raise Refused(422, f'Invalid request.\n\n"{lacking[0]}" wasn\'t supplied.')
    rules = dict(asked)
    if checks := asked["required_status_checks"]:
        contexts = list(checks.get("contexts") or [each["context"] for each in checks.get("checks") or []])
        rules["required_status_checks"] = {"strict": bool(checks.get("strict")), "contexts": contexts}
    if (reviews := asked["required_pull_request_reviews"]) is not None:
        switches = ("dismiss_stale_reviews", "require_code_owner_reviews", "require_last_push_approval")
        rules["required_pull_request_reviews"] = {name: bool(reviews.get(name)) for name in switches}
        count = reviews.get("required_approving_review_count", 1)
        rules["required_pull_request_reviews"]["required_approving_review_count"] = count
    call.repo.protections[branch] = rules
    return Reply(full(call, branch))


@on_repo("DELETE", PROTECTION, need="admin")
async def delete_protection(call: Call) -> Reply:
    del call.repo.protections[protected(call)]
    return Reply(status=204)


@on_repo("GET", PROTECTION + "/required_status_checks", need="admin")
async def required_checks(call: Call) -> Reply:
    shown = full(call, protected(call)).get("required_status_checks")
    if shown is None:
        raise Refused(404, "Required status checks not enabled")
    return Reply(shown)


@on_repo("GET", "/branches/{branch*}")
async def get(call: Call) -> Reply:
    name = checked_branch(call)
    commit = read_commit(call.repo.git, f"{HEADS}{name}")
    assert commit is not None
    page = call.view.html(f"/{call.repo.full_name}/tree/{quote(name)}")
    address = call.view.api(f"/repos/{call.repo.full_name}/branches/{quote(name)}")
    shown = {
        "name": name,
        "commit": commit_json(call.view, call.world, call.repo, commit),
        "_links": {"self": address, "html": page},
        "protected": name in call.repo.protections,
        "protection": brief(call, name),
        "protection_url": protection_url(call, name),
    }
    return Reply(shown)
