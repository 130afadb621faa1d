"""uv: uv.lock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import Table, string, table, tables, toml_table

SOURCES = (".tar.gz", ".zip", ".tar.bz2", ".tgz")
"""Ends of the names of source distributions."""
PATHS = ("virtual", "editable", "directory", "path")


def read(content: bytes) -> dict[str, Entry]:
    """Every package by name, version and source: uv may lock several of one name, for different platforms.

    A package that has a source distribution and no wheel runs code of its own to be installed.
    """
    document = toml_table(content)
    if "version" not in document:
        raise LockfileUnreadable("it has no `version`")
    found = {}
    for package in tables(document.get("package"), "package"):
        name, version = string(package.get("name"), "name"), string(package.get("version"), "version")
        source = table(package.get("source"), name)
        files = list(tables(package.get("wheels"), name))
        built = not files
        if package.get("sdist") is not None:
            files.append(table(package["sdist"], name))
        paths = [string(source.get(key), name) for key in PATHS if key in source]
        addresses = [f"git+{string(source['git'], name)}"] if "git" in source else []
        addresses += [string(source[key], name) for key in ("registry", "url") if key in source]
        addresses += [string(each["url"], name) for each in files if "url" in each]
        sources = tuple(dict.fromkeys([*(f"{IN_TREE}{path}" for path in paths), *addresses]))
        integrity = frozenset(_hashed(each, name) for each in files if each.get("hash"))
        needs = tuple(dict.fromkeys(_needs(package, name)))
        found[f"{name} {version} {source}"] = Entry(name, version, sources, integrity, built and not paths, needs)
    return found


def _hashed(file: Table, name: str) -> str:
    """`<file> <hash>`, so that a hash that wanders to another file is seen."""
    place = string(file.get("url") or file.get("path") or file.get("filename"), name)
    return f"{_file_of(place)} {string(file['hash'], name)}"


def _file_of(url: str) -> str:
    return unquote(url.partition("#")[0].partition("?")[0]).rpartition("/")[2]


def _needs(package: Table, name: str) -> Iterator[str]:
    groups = [package.get("dependencies")]
    for section in ("optional-dependencies", "dev-dependencies"):
        groups += table(package.get(section), name).values()
    for group in groups:
        for need in tables(group, name):
            yield string(need.get("name"), name)


def names(name: str, url: str) -> bool:
    """Whether an address of an index is one of the package, by the name of its file. The index itself is."""
    file = _file_of(url)
    if not file.endswith((".whl", ".egg", *SOURCES)):
        return True
    # In a wheel's name a `-` of the package's name is written `_`.
    found = file.partition("-")[0] if file.endswith((".whl", ".egg")) else file.rpartition("-")[0]
    return manifests.python_name(found) == manifests.python_name(name)


MANAGER = Manager(
    name="uv",
    lockfiles=("uv.lock",),
    manifests=("pyproject.toml",),
    program="uv",
    regenerate=("uv", "lock", "--no-build"),
    check=("uv", "lock", "--check", "--no-build"),
    read=read,
    requirements=manifests.python,
    language=manifests.PYTHON,
    hosts=("pypi.org", "files.pythonhosted.org"),
    env={"UV_PYTHON_DOWNLOADS": "never", "UV_CACHE_DIR": "{home}/uv", "UV_NO_PROGRESS": "1"},
    names=names,
    format=re.compile(rb"^version = \d+$", re.MULTILINE),
)
