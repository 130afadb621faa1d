"""npm: package-lock.json and npm-shrinkwrap.json, from lockfileVersion 2 (npm 7) on."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import BUNDLED, IN_TREE, Entry, LockfileUnreadable, alias
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import hashes, json_table, string, table

FOLDER = "node_modules/"
NEEDS = ("dependencies", "optionalDependencies", "peerDependencies", "devDependencies")


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its place, as `node_modules/a/node_modules/b`."""
    document = json_table(content)
    if "packages" not in document:
        raise LockfileUnreadable(
            "it has no `packages`: lockfileVersion 2 or later is read, which npm 7 and later write"
        )
    found = {}
    for place, value in table(document["packages"], "packages").items():
        package = table(value, place)
        used = place.rpartition(FOLDER)[2] or place
        name = string(package.get("name"), place) or used
        source = string(package.get("resolved"), place)
        if FOLDER not in place:
            sources: tuple[str, ...] = (f"{IN_TREE}{place}",)
        elif package.get("link") is True:
            sources = (f"{IN_TREE}{source}",)
        elif package.get("inBundle") is True and not source:  # what the project itself bundles is fetched as all else
            sources = (BUNDLED,)
        else:
            sources = (source,) if source else ()
        needs = tuple(dict.fromkeys(need for section in NEEDS for need in table(package.get(section), place)))
        version = string(package.get("version"), place)
        script = package.get("hasInstallScript") is True
        found[place] = Entry(name, version, sources, hashes(package.get("integrity"), place), script, needs)
        if name != used and FOLDER in place:
            found[f"{place} (alias)"] = alias(used, name)
    return found


def names(name: str, url: str) -> bool:
    """Whether an address of an npm registry is one of the package: `<registry>/<name>/-/<file>.tgz`."""
    path = unquote(urlsplit(url).path).rpartition("/-/")[0]
    scope, _, package = path.rpartition("/")
    scope = scope.rpartition("/")[2]
    return name == (f"{scope}/{package}" if scope.startswith("@") else package)


MANAGER = Manager(
    name="npm",
    lockfiles=("package-lock.json", "npm-shrinkwrap.json"),
    manifests=("package.json",),
    program="npm",
    regenerate=("npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"),
    check=("npm", "ci", "--dry-run", "--ignore-scripts", "--no-audit", "--no-fund"),
    read=read,
    requirements=manifests.node,
    hosts=("registry.npmjs.org",),
    env={"npm_config_update_notifier": "false", "npm_config_cache": "{home}/.npm"},
    names=names,
    format=re.compile(rb'^[ \t]*"lockfileVersion"[ \t]*:[ \t]*\d+', re.MULTILINE),
)
