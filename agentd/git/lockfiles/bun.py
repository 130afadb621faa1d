"""bun: the text lockfile bun.lock. The binary bun.lockb is no lockfile here: nobody could say what is in it."""

from __future__ import annotations

import re

from agentd.git.lockfiles import manifests, npm
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable, alias
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import rows, string, table, yaml_table

NEEDS = ("dependencies", "optionalDependencies", "peerDependencies")
_LOCATOR = re.compile(r"(@[^/@]+/[^@]+|[^@]+)@(.+)", re.DOTALL)


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its place, as `a` or `a/b`: b for a alone."""
    # JSON with commas after the last element, which is YAML's flow style.
    document = yaml_table(content)
    if "packages" not in document:
        raise LockfileUnreadable("it has no `packages`")
    found = {}
    for key, value in table(document["packages"], "packages").items():
        parts = rows(value, key)
        match = _LOCATOR.fullmatch(string(parts[0] if parts else "", key))
        if match is None:
            raise LockfileUnreadable(f"{key!r}: expected `name@version` first")
        name, version = match[1], match[2]
        needs = tuple(
            need for part in parts if isinstance(part, dict) for n in NEEDS for need in table(part.get(n), key)
        )
        texts = [string(part, key) for part in parts[1:] if not isinstance(part, dict)]
        integrity = frozenset(text for text in texts if re.match(r"sha\d+-", text))
        sources = tuple(text for text in texts if "://" in text)
        if path := re.match(r"(?:workspace|file|link):(.*)", version):
            sources = (f"{IN_TREE}{path[1]}",)
        elif not version[:1].isdigit():
            sources = (version, *sources)
        found[key] = Entry(name, version, sources, integrity, None, needs)
        used = key if key.startswith("@") and key.count("/") == 1 else key.rpartition("/")[2]
        if used != name and not key.endswith(name):
            found[f"{key} (alias)"] = alias(used, name)
    return found


MANAGER = Manager(
    name="bun",
    lockfiles=("bun.lock",),
    manifests=("package.json",),
    program="bun",
    regenerate=("bun", "install", "--lockfile-only", "--ignore-scripts"),
    check=("bun", "install", "--frozen-lockfile", "--lockfile-only", "--ignore-scripts"),
    read=read,
    requirements=manifests.node,
    hosts=("registry.npmjs.org",),
    env={"BUN_INSTALL_CACHE_DIR": "{home}/bun"},
    names=npm.names,
    format=re.compile(rb'^[ \t]*"lockfileVersion"[ \t]*:[ \t]*\d+', re.MULTILINE),
)
