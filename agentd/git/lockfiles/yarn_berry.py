"""yarn 2 and later ("berry"): the yarn.lock that has `__metadata`."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import parse_qs, unquote

from agentd.git.lockfiles import manifests, npm
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable, alias
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import hashes, string, table, yaml_table

MARK = b"__metadata:"
NEEDS = ("dependencies", "peerDependencies")
_LOCATOR = re.compile(r"(@[^/@]+/[^@]+|[^@]+)@(.+)", re.DOTALL)
_URL = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s<>\"]+|git@[^\s<>\"]+")
_PATH = re.compile(r"^(?:file|link|portal|workspace):([^#]*)")


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its descriptors, as `name@npm:^1.0.0, name@npm:^1.2.0`."""
    document = yaml_table(content)
    if "__metadata" not in document:
        raise LockfileUnreadable("it has no `__metadata`")
    found: dict[str, Entry] = {}
    for key, value in document.items():
        if key == "__metadata":
            continue
        package = table(value, key)
        match = _LOCATOR.fullmatch(string(package.get("resolution"), key))
        if match is None:
            raise LockfileUnreadable(f"{key[:80]!r}: its resolution is not `name@reference`")
        name = match[1]
        needs = tuple(dict.fromkeys(need for section in NEEDS for need in table(package.get(section), key)))
        version = string(package.get("version"), key)
        found[key] = Entry(name, version, _sources(name, match[2]), hashes(package.get("checksum"), key), None, needs)
        for descriptor in key.split(","):
            used = _LOCATOR.fullmatch(descriptor.strip())
            if used and used[1] != name:
                found[f"{used[1]} -> {name}"] = alias(used[1], name)
    return found


def _sources(name: str, reference: str) -> tuple[str, ...]:
    """Where a locator's reference leads: addresses, a path of the tree, or nothing for the registry.

    A reference has parameters after `::`, and of a patch another locator within it, percent-encoded (yarnpkg.com,
    "Protocols").
    """
    plain, _, parameters = reference.partition("::")
    text = unquote(plain)
    bound = parse_qs(parameters)
    urls = [url for each in (plain, text, *bound.get("__archiveUrl", [])) for url in _URL.findall(each)]
    if urls:
        return tuple(dict.fromkeys(urls))
    if plain.startswith("patch:"):
        # A patch of the same package from the registry, with what the repository or yarn itself has.
        return () if text.startswith(f"patch:{name}@npm:") else (reference,)
    if path := _PATH.match(text):
        parent = bound.get("locator", [""])[0].partition("@workspace:")[2]
        return (f"{IN_TREE}{posixpath.join(parent, path[1])}",)
    return () if plain.startswith("npm:") else (reference,)


MANAGER = Manager(
    name="yarn berry",
    lockfiles=("yarn.lock",),
    manifests=("package.json",),
    program="yarn",
    regenerate=("yarn", "install", "--mode=update-lockfile"),
    check=("yarn", "install", "--immutable", "--mode=skip-build"),
    read=read,
    is_hashed=False,  # of packages for another platform it has none
    requirements=manifests.node,
    hosts=("registry.yarnpkg.com", "registry.npmjs.org"),
    env={
        # Else a path in the repository's configuration is run in its place.
        "YARN_IGNORE_PATH": "1",
        "YARN_ENABLE_SCRIPTS": "false",
        "YARN_ENABLE_IMMUTABLE_INSTALLS": "false",
        "YARN_ENABLE_TELEMETRY": "0",
        "YARN_ENABLE_GLOBAL_CACHE": "true",
        "YARN_GLOBAL_FOLDER": "{home}/yarn",
        "YARN_INSTALL_STATE_PATH": "{home}/install-state.gz",
    },
    names=npm.names,
    version=r"(?!1\.|0\.)\d+\..*",
    format=re.compile(rb"^__metadata:\s*\n\s+version:.*$", re.MULTILINE),
)
