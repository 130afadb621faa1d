"""Bundler: Gemfile.lock. The Gemfile is a program, which is run to be read."""

from __future__ import annotations

import re

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import IN_TREE, Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import lines_of

_SPEC = re.compile(r"    (\S+) \((\S+)\)")
_NEED = re.compile(r"      (\S+)(?: \(.*\))?!?")
_CHECKSUM = re.compile(r"  (\S+) \((\S+)\)(?: (.+))?")
_SECTION = re.compile(r"[A-Z][A-Z ]*")
_FIELD = re.compile(r"  ([a-z]+):(.*)")


def read(content: bytes) -> dict[str, Entry]:
    """Every gem as `name version`."""
    section, fields = "", {"remote": "", "revision": ""}
    found: dict[str, Entry] = {}
    needs: dict[str, list[str]] = {}
    sums: dict[str, frozenset[str]] = {}
    last = ""
    for line in lines_of(content):
        if _SECTION.fullmatch(line):
            section, fields = line, {"remote": "", "revision": ""}
        elif section == "CHECKSUMS" and (match := _CHECKSUM.fullmatch(line)):
            sums[f"{match[1]} {match[2]}"] = frozenset((match[3] or "").split(","))
        elif section in ("GEM", "GIT", "PATH") and (match := _FIELD.fullmatch(line)):
            fields[match[1]] = match[2].strip()
        elif section in ("GEM", "GIT", "PATH") and (match := _SPEC.fullmatch(line)):
            last = f"{match[1]} {match[2]}"
            found[last] = Entry(match[1], match[2], _sources(section, fields))
            needs[last] = []
        elif section in ("GEM", "GIT", "PATH") and last and (match := _NEED.fullmatch(line)):
            needs[last].append(match[1])
    if not section:
        raise LockfileUnreadable("it has no section such as GEM")
    return {
        key: Entry(each.name, each.version, each.sources, sums.get(key, frozenset()) - {""}, None, tuple(needs[key]))
        for key, each in found.items()
    }


def _sources(section: str, fields: dict[str, str]) -> tuple[str, ...]:
    if section == "PATH":
        return (f"{IN_TREE}{fields['remote']}",)
    if section == "GIT":
        return (f"git+{fields['remote']}#{fields['revision']}",)
    return (fields["remote"],) if fields["remote"] else ()


MANAGER = Manager(
    name="bundler",
    lockfiles=("Gemfile.lock",),
    manifests=("Gemfile",),
    program="bundle",
    regenerate=("bundle", "lock"),
    # It checks and writes nothing, since the lockfile is frozen.
    check=("bundle", "lock", "--print"),
    read=read,
    is_hashed=False,  # only where somebody asked for them
    requirements=manifests.ruby,
    hosts=("rubygems.org", "index.rubygems.org"),
    env={"BUNDLE_APP_CONFIG": "{home}/bundle", "BUNDLE_PATH": "{home}/gems"},
)
