"""Composer: composer.lock."""

from __future__ import annotations

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import json_table, string, table, tables


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its name. A plugin of Composer's runs when it is installed."""
    document = json_table(content)
    if "packages" not in document:
        raise LockfileUnreadable("it has no `packages`")
    found = {}
    for section in ("packages", "packages-dev"):
        for package in tables(document.get(section), section):
            name = string(package.get("name"), section).lower()
            dist, source = table(package.get("dist"), name), table(package.get("source"), name)
            url, reference = string(dist.get("url"), name), string(source.get("reference"), name)
            if string(dist.get("type"), name) == "path":
                sources: tuple[str, ...] = (f"{IN_TREE}{url}",)
            else:
                sources = tuple(each for each in (url, string(source.get("url"), name)) if each)
            digests = [string(dist.get("shasum"), name), string(dist.get("reference"), name), reference]
            found[name] = Entry(
                name,
                string(package.get("version"), name),
                sources,
                frozenset(each for each in digests if each),
                string(package.get("type"), name) == "composer-plugin",
                tuple(need.lower() for need in table(package.get("require"), name)),
            )
    return found


MANAGER = Manager(
    name="composer",
    lockfiles=("composer.lock",),
    manifests=("composer.json",),
    program="composer",
    regenerate=(
        *("composer", "update", "--lock", "--no-install", "--no-scripts", "--no-plugins"),
        *("--no-interaction", "--no-progress", "--ignore-platform-reqs"),
    ),
    check=("composer", "validate", "--no-check-all", "--no-check-publish", "--no-scripts", "--no-plugins"),
    read=read,
    is_hashed=False,
    requirements=manifests.php,
    hosts=("repo.packagist.org", "packagist.org", "api.github.com", "github.com"),
    env={"COMPOSER_HOME": "{home}/composer", "COMPOSER_ALLOW_SUPERUSER": "1"},
)
