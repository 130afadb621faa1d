"""A practice GitHub filled from JSON: users, repositories, tokens, labels, issues."""

from __future__ import annotations

from agentd.practice import people
from agentd.practice.acts.issues import make_label
from agentd.practice.world import Json, World


async def sow(world: World, seed: Json) -> Json:
    """Makes everything the seed names; the tokens by login. ValueError names what it does not understand.

    users: [{login, id, type}]; repos: [{full_name, private, default_branch, files, grants: {login: role}}];
    tokens: [{user, token, scopes, read_only}]; labels: {full_name: [{name, color, description}]};
    issues: [{repo, title, body, labels, author}].
    """
    unknown = set(seed) - {"users", "repos", "tokens", "labels", "issues"}
    if unknown:
        raise ValueError(f"a seed has users, repos, tokens, labels and issues, not {', '.join(sorted(unknown))}")
    for user in seed.get("users", []):
        world.add_user(user["login"], user.get("id"), user.get("type", "User"))
    for repo in seed.get("repos", []):
        branch = repo.get("default_branch", "main")
        await people.add_repo(world, repo["full_name"], repo.get("private", False), branch, repo.get("files"))
        for login, role in repo.get("grants", {}).items():
            people.grant(world, repo["full_name"], login, role)
    tokens: Json = {}
    for token in seed.get("tokens", []):
        scopes = tuple(token.get("scopes", ["repo"]))
        made = world.add_token(token["user"], scopes, token.get("read_only", False), token.get("token"))
        tokens.setdefault(token["user"], []).append(made.value)
    for full_name, labels in seed.get("labels", {}).items():
        for label in labels:
            found = people.repo_of(world, full_name)
            make_label(world, found, label["name"], label.get("color", "ededed"), label.get("description"))
    for issue in seed.get("issues", []):
        where = people.repo_of(world, issue["repo"])
        author = issue.get("author", where.owner.login)
        labels = issue.get("labels", [])
        await people.create_issue(world, where.full_name, issue["title"], issue.get("body"), labels, author)
    return tokens
