"""Poetry: poetry.lock."""

from __future__ import annotations

import re

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import string, table, tables, toml_table


def read(content: bytes) -> dict[str, Entry]:
    """Every package by name, version and source."""
    document = toml_table(content)
    if "metadata" not in document:
        raise LockfileUnreadable("it has no `metadata`")
    found = {}
    for package in tables(document.get("package"), "package"):
        name, version = string(package.get("name"), "name"), string(package.get("version"), "version")
        source = table(package.get("source"), name)
        url, kind = string(source.get("url"), name), string(source.get("type"), name)
        if kind in ("directory", "file"):
            sources: tuple[str, ...] = (f"{IN_TREE}{url}",)
        elif kind == "git":
            sources = (f"git+{url}#{string(source.get('resolved_reference'), name)}",)
        else:
            sources = (url,) if url else ()
        files = list(tables(package.get("files"), name))
        file_names = [string(each.get("file"), name) for each in files]
        integrity = frozenset(
            f"{file} {string(each['hash'], name)}"
            for file, each in zip(file_names, files, strict=True)
            if "hash" in each
        )
        needs = tuple(manifests.python_name(need) for need in table(package.get("dependencies"), name))
        built = bool(files) and not any(file.endswith(".whl") for file in file_names)
        found[f"{name} {version} {url}"] = Entry(manifests.python_name(name), version, sources, integrity, built, needs)
    return found


MANAGER = Manager(
    name="poetry",
    lockfiles=("poetry.lock",),
    manifests=("pyproject.toml",),
    program="poetry",
    # Poetry's own client for pypi.org reads only the JSON form of the simple API (PEP 691): a mirror that answers in
    # HTML must be named in pyproject.toml as a source, or Poetry ends with "Expecting value".
    regenerate=("poetry", "lock", "--no-interaction", "--no-plugins"),
    check=("poetry", "check", "--lock", "--no-interaction", "--no-plugins"),
    read=read,
    requirements=manifests.python,
    language=manifests.PYTHON,
    hosts=("pypi.org", "files.pythonhosted.org"),
    env={
        "POETRY_CACHE_DIR": "{home}/poetry",
        "POETRY_VIRTUALENVS_PATH": "{home}/venvs",
        "POETRY_VIRTUALENVS_CREATE": "false",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    },
    format=re.compile(rb'^lock-version = ".*"$', re.MULTILINE),
)
