"""yarn 1: the yarn.lock that says `# yarn lockfile v1`. Its format is its own; this reads what yarn 1 writes."""

from __future__ import annotations

import re

from agentd.git.lockfiles import manifests, npm
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable, alias
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import hashes, lines_of

MARK = b"# yarn lockfile v1"
LINE_CHARACTERS = 65_536
_DESCRIPTOR = re.compile(r"(@[^/@]+/[^@]+|[^@]+)(?:@(.*))?")
_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)|([^\s",]+)')
_ENTRY, _FIELD, _NEED = 0, 2, 4


def read(content: bytes) -> dict[str, Entry]:
    """Every package by its first descriptor, as `name@^1.0.0`."""
    found: dict[str, Entry] = {}
    descriptors: list[str] = []
    fields: dict[str, str] = {}
    needs: list[str] = []
    for number, line in enumerate([*lines_of(content), "end:"], start=1):
        if len(line) > LINE_CHARACTERS:
            raise LockfileUnreadable(f"line {number} has {len(line)} characters")
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        words = [match[1].replace('\\"', '"') if match[2] is None else match[2] for match in _WORDS.finditer(text)]
        opens = text.endswith(":")
        # yarn reads more than it writes: a colon after any key, and several fields on a line.
        is_plain = not any(word.endswith(":") for word in words[:-1])
        if indent == _ENTRY and opens and is_plain:
            if descriptors:
                _add(found, descriptors, fields, needs)
            descriptors, fields, needs = [word.removesuffix(":") for word in words if word != ":"], {}, []
        elif indent == _FIELD and descriptors and is_plain and len(words) == (1 if opens else 2):
            if not opens:
                fields[words[0]] = words[1]
        elif indent == _NEED and descriptors and words:
            needs.append(words[0])
        else:
            raise LockfileUnreadable(f"line {number}: {text[:80]!r} is not what yarn 1 writes")
    return found


def _add(found: dict[str, Entry], descriptors: list[str], fields: dict[str, str], needs: list[str]) -> None:
    name, real = "", ""
    for descriptor in descriptors:
        match = _DESCRIPTOR.fullmatch(descriptor)
        if match is None:
            raise LockfileUnreadable(f"{descriptor[:80]!r}: expected `name@range`")
        used, wanted = match[1], match[2] or ""
        meant = _DESCRIPTOR.fullmatch(wanted.removeprefix("npm:")) if wanted.startswith("npm:") else None
        name = name or used
        real = real or (meant[1] if meant and meant[2] is not None else used)
        if used != real:
            found[f"{used} -> {real}"] = alias(used, real)
    url, _, digest = fields.get("resolved", "").partition("#")
    integrity = hashes(fields.get("integrity"), name) | ({f"sha1#{digest}"} if digest else set())
    in_tree = [d.partition("@file:")[2] or d.partition("@link:")[2] for d in descriptors]
    sources = (url,) if url else tuple(f"{IN_TREE}{path}" for path in in_tree if path)
    found[descriptors[0]] = Entry(real, fields.get("version", ""), sources, integrity, None, tuple(needs))


MANAGER = Manager(
    name="yarn classic",
    lockfiles=("yarn.lock",),
    manifests=("package.json",),
    program="yarn",
    # It has no way to write the lockfile alone: what it installs goes where nobody looks.
    regenerate=(
        *("yarn", "install", "--ignore-scripts", "--non-interactive", "--no-progress"),
        *("--modules-folder", "{home}/modules"),
    ),
    check=(
        *("yarn", "install", "--frozen-lockfile", "--ignore-scripts", "--non-interactive", "--no-progress"),
        *("--modules-folder", "{home}/modules"),
    ),
    read=read,
    requirements=manifests.node,
    hosts=("registry.yarnpkg.com", "registry.npmjs.org"),
    # Else a path in the repository's configuration is run in its place.
    env={"YARN_IGNORE_PATH": "1", "YARN_CACHE_FOLDER": "{home}/cache"},
    names=npm.names,
    version=r"1\..*",
)
