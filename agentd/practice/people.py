"""What the people of a practice GitHub do: the code behind the Python API, the control paths and seeds.

All run on the server's event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentd.practice.acts import issues as acts
from agentd.practice.acts.merging import merge_pull
from agentd.practice.acts.refs import HEADS, RefMove, follow_heads, refs_moved
from agentd.practice.acts.repos import new_repo
from agentd.practice.bare import ZERO
from agentd.practice.shapes.commits import signature_of
from agentd.practice.webhooks import deliver
from agentd.practice.world import ROLES, Issue, Repo, Webhook, World

Files = Mapping[str, str | bytes | None]


def issue_of(repo: Repo, number: int) -> Issue:
    if number not in repo.issues:
        raise ValueError(f"{repo.full_name} has no issue {number}; it has 1 to {max(repo.issues, default=0)}")
    return repo.issues[number]


def repo_of(world: World, full_name: str) -> Repo:
    try:
        return world.repo(full_name)
    except KeyError:
        raise ValueError(f"there is no repository {full_name!r}; known are {sorted(world.repos)}") from None


async def add_repo(world: World, full_name: str, private: bool, default_branch: str, files: Files | None) -> Repo:
    """A repository with one commit."""
    repo = new_repo(world, full_name, private, default_branch)
    content = files or {"README.md": f"# {repo.name}\n"}
    await repo.git.commit(default_branch, content, "Initial commit", signature_of(repo.owner, world), None)
    return repo


def grant(world: World, full_name: str, login: str, role: str) -> None:
    if role not in ROLES:
        raise ValueError(f"no role {role!r}; there are {', '.join(ROLES)}")
    repo, user = repo_of(world, full_name), world.add_user(login)
    repo.roles[user.login.lower()] = role


async def commit(world: World, full_name: str, branch: str, files: Files, message: str, author: str) -> str:
    """A person's push of one commit; a new branch starts at the default branch."""
    repo, user = repo_of(world, full_name), world.add_user(author)
    async with repo.lock:
        old = repo.git.branch(branch)
        base = old or repo.git.branch(repo.default_branch)
        sha = await repo.git.commit(branch, files, message, signature_of(user, world), base)
        await refs_moved(world, repo, user, [RefMove(HEADS + branch, old or ZERO, sha)])
    await deliver(world)
    return sha


async def create_issue(
    world: World, full_name: str, title: str, body: str | None, labels: Sequence[str], author: str
) -> int:
    repo = repo_of(world, full_name)
    async with repo.lock:
        issue = acts.open_issue(world, repo, world.add_user(author), title, body, labels)
    await deliver(world)
    return issue.number


async def merge(world: World, full_name: str, number: int, method: str, user: str) -> str:
    """The sha of the base branch afterwards; Refused when GitHub would refuse."""
    repo = repo_of(world, full_name)
    async with repo.lock:
        await follow_heads(world, repo)
        sha = await merge_pull(world, issue_of(repo, number), world.add_user(user), method)
    await deliver(world)
    return sha


def add_webhook(world: World, full_name: str, url: str, secret: str | None, events: Sequence[str]) -> int:
    repo = repo_of(world, full_name)
    hook = Webhook(world.next_id(), url, secret, tuple(events), world.now())
    repo.hooks[hook.id] = hook
    return hook.id
