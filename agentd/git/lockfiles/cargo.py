"""Cargo: Cargo.lock."""

from __future__ import annotations

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import BUNDLED, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import rows, string, tables, toml_table

CRATES_IO = ("registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/")


def read(content: bytes) -> dict[str, Entry]:
    """Every package by name, version and source. One without a source is a path dependency, named by a manifest."""
    document = toml_table(content)
    if "package" not in document:
        raise LockfileUnreadable("it has no `package`")
    found = {}
    for package in tables(document["package"], "package"):
        name, version = string(package.get("name"), "name"), string(package.get("version"), name_of(package))
        source = string(package.get("source"), name)
        checksum = string(package.get("checksum"), name)
        # `name`, or `name version`, or `name version (source)`, whatever tells it apart.
        needs = tuple(string(each, name).partition(" ")[0] for each in rows(package.get("dependencies"), name))
        integrity = frozenset([checksum] if checksum else [])
        found[f"{name} {version} {source}"] = Entry(name, version, (source or BUNDLED,), integrity, None, needs)
    return found


def name_of(package: object) -> str:
    """For messages."""
    return str(package)[:80]


MANAGER = Manager(
    name="cargo",
    lockfiles=("Cargo.lock",),
    manifests=("Cargo.toml",),
    program="cargo",
    # No `format`: Cargo writes the newest one that the `rust-version` of the project allows, and no other on demand.
    # Not generate-lockfile, which resolves everything anew.
    regenerate=("cargo", "update", "--workspace"),
    check=("cargo", "metadata", "--locked", "--format-version=1", "--quiet"),
    read=read,
    requirements=manifests.rust,
    hosts=("index.crates.io", "static.crates.io"),
    sources=CRATES_IO,
    env={"CARGO_HOME": "{home}/cargo", "CARGO_TERM_COLOR": "never"},
)
