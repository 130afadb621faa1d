"""pnpm: pnpm-lock.yaml, from lockfileVersion 6 (pnpm 8) on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agentd.git.lockfiles import manifests, npm
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable, alias
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import Table, hashes, string, table, tables, yaml_table

NEEDS = ("dependencies", "optionalDependencies", "devDependencies")
ALWAYS = ("--ignore-scripts", "--ignore-pnpmfile", "--store-dir", "{home}/pnpm")
"""Without a store of its own it makes one in the tree, when that is another file system than the home."""
_KEY = re.compile(r"/?(@[^/@]+/[^@]+|[^@]+)@(.+)")


def read(content: bytes) -> dict[str, Entry]:
    """Every package as `name@version`; several lockfile entries that differ only in their peers are one."""
    document = yaml_table(content)
    if "lockfileVersion" not in document:
        raise LockfileUnreadable("it has no `lockfileVersion`")
    # Until version 9 the edges stand beside the package, since then in a section of their own.
    needs: dict[str, set[str]] = {}
    found: dict[str, Entry] = {}
    snapshots = table(document.get("snapshots"), "snapshots")
    packages = table(document.get("packages"), "packages")
    for key, value in (*packages.items(), *snapshots.items()):
        for used, real in _needs(table(value, key), key):
            needs.setdefault(_plain(key), set()).add(real)
            if used != real:
                found[f"{used} -> {real}"] = alias(used, real)
    for place, value in table(document.get("importers"), "importers").items():
        for used, real in _needs(table(value, place), place):
            if used != real:
                found[f"{used} -> {real}"] = alias(used, real)
    for key, value in packages.items():
        entry = _entry(_plain(key), table(value, key), tuple(sorted(needs.get(_plain(key), ()))))
        found[f"{entry.name}@{entry.version}"] = entry
    return found


def _plain(key: str) -> str:
    """The key without peers, which stand in parentheses."""
    return key.partition("(")[0]


def _split(key: str) -> tuple[str, str]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise LockfileUnreadable(f"{key!r}: expected `name@version`; lockfileVersion 6 or later is read (pnpm 8)")
    return match[1], match[2]


def _entry(key: str, package: Table, needs: tuple[str, ...]) -> Entry:
    name, version = _split(key)
    name = string(package.get("name"), key) or name
    resolution = table(package.get("resolution"), key)
    script = {"true": True, "false": False}.get(string(package.get("requiresBuild"), key))
    sources = [string(resolution.get("tarball"), key), string(resolution.get("url"), key)]
    integrity = hashes(resolution.get("integrity"), key)
    if resolution.get("repo"):
        sources.append(f"git+{string(resolution['repo'], key)}#{string(resolution.get('commit'), key)}")
    if resolution.get("directory"):
        sources.append(f"{IN_TREE}{string(resolution['directory'], key)}")
    # A runtime, such as node@runtime:24.4.0, is one archive for each platform.
    for variant in tables(resolution.get("variants"), key):
        archive = table(variant.get("resolution"), key)
        urls = [string(archive.get(field), key) for field in ("tarball", "url")]
        sources += urls
        file = " ".join(filter(None, urls)).rpartition("/")[2]
        integrity |= {f"{file} {each}" for each in hashes(archive.get("integrity"), key)}
    found = tuple(dict.fromkeys(source for source in sources if source))
    return Entry(name, version, found, integrity, script, needs)


def _needs(package: Table, where: str) -> Iterator[tuple[str, str]]:
    """The names that a package uses, with those of the packages that they stand for."""
    for section in NEEDS:
        for used, value in table(package.get(section), where).items():
            version = _version(value, where)
            match = _KEY.fullmatch(_plain(version))
            is_alias = match is not None and ":" not in match[1]
            yield used, match[1] if match is not None and is_alias else used


def _version(value: Any, where: str) -> str:
    return string(value.get("version") if isinstance(value, dict) else value, where)


MANAGER = Manager(
    name="pnpm",
    lockfiles=("pnpm-lock.yaml",),
    manifests=("package.json", "pnpm-workspace.yaml"),
    program="pnpm",
    regenerate=("pnpm", "install", "--lockfile-only", "--no-frozen-lockfile", *ALWAYS),
    check=("pnpm", "install", "--lockfile-only", "--frozen-lockfile", *ALWAYS),
    read=read,
    requirements=manifests.node,
    hosts=("registry.npmjs.org",),
    # Else it would fetch and run the version that package.json names.
    env={"npm_config_manage_package_manager_versions": "false", "pnpm_config_pm_on_fail": "ignore"},
    names=npm.names,
    format=re.compile(rb"^lockfileVersion:.*$", re.MULTILINE),
)
