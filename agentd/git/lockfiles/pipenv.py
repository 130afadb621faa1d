"""Pipenv: Pipfile.lock. `pipenv lock` resolves everything anew: what upstream pins is not kept for its own sake."""

from __future__ import annotations

import re

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import json_table, rows, string, table, tables


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its group and name."""
    document = json_table(content)
    if "_meta" not in document:
        raise LockfileUnreadable("it has no `_meta`")
    meta = table(document["_meta"], "_meta")
    indexes = {string(each.get("name"), "sources"): string(each.get("url"), "sources") for each in _sources(meta)}
    found = {}
    for group, packages in document.items():
        if group == "_meta":
            continue
        for name, value in table(packages, group).items():
            package = table(value, name)
            sources = [indexes.get(string(package.get("index"), name), "")]
            sources += (
                [f"git+{string(package['git'], name)}#{string(package.get('ref'), name)}"] if "git" in package else []
            )
            sources += [f"{IN_TREE}{string(package[key], name)}" for key in ("path", "file") if key in package]
            integrity = frozenset(string(each, name) for each in rows(package.get("hashes"), name))
            version = string(package.get("version"), name).removeprefix("==")
            python_name = manifests.python_name(name)
            found[f"{group} {name}"] = Entry(python_name, version, tuple(each for each in sources if each), integrity)
    return found


def _sources(meta: object) -> list[dict[str, object]]:
    return [dict(each) for each in tables(table(meta, "_meta").get("sources"), "sources")]


MANAGER = Manager(
    name="pipenv",
    lockfiles=("Pipfile.lock",),
    manifests=("Pipfile",),
    program="pipenv",
    regenerate=("pipenv", "lock"),
    check=("pipenv", "verify"),
    read=read,
    requirements=manifests.python,
    language=manifests.PYTHON,
    hosts=("pypi.org", "files.pythonhosted.org"),
    env={"PIPENV_CACHE_DIR": "{home}/pipenv", "WORKON_HOME": "{home}/venvs", "PIPENV_NOSPIN": "1", "PIPENV_YES": "1"},
    has_edges=False,
    format=re.compile(rb'^[ \t]*"pipfile-spec"[ \t]*:[ \t]*\d+', re.MULTILINE),
)
