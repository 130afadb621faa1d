"""The proof that a regenerated lockfile holds only what its parents hold, or what a manifest asks for.

A tool that regenerates a lockfile keeps what it finds there, so an entry that somebody bent would survive in the name
of the supervisor. Hence both parents are judged against their merge base first, and the new lockfile against both.

How far the proof goes. An entry that neither parent has must be reachable, by the new lockfile's own edges, from a
package whose requirement a manifest changed. Edges are names, so another version of a reachable name passes; and they
are the lockfile's own word: what a changed package is said to need, it needs. Formats without edges (go.sum,
Pipfile.lock) only show that some manifest changed. Where a manifest changes the versions of the language itself, every
package that it asks for may move with all that it needs, and files of a version may come and go, with the hashes that
they have. The hashes of an entry that is new are what the registry, or the
parent that brought it, said: they are compared with nothing. A parent may move a package to another version, as the
upkeep of lockfiles does; it may not bring a new name that no manifest explains, if that one runs code when it is
installed or its format does not say. Nothing is asked of a registry here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agentd.git.lockfiles.entry import BUNDLED, IN_TREE, Entry
from agentd.git.lockfiles.manager import Manager

_PLAIN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-\[\]-~]*")
"""Printable ASCII and no backslash: what every reader of URLs takes for the same host."""
_SHORT_SSH = re.compile(r"(?:[\w+-]+\+)?[\w.-]+@[\w.-]+:(?!//)")


@dataclass(frozen=True)
class Side:
    """One commit's word: its lockfile, and what the manifests below the lockfile's folder ask for."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    requirements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """manifest -> name -> requirement; manifests that are the same on all sides may be left out of all"""


@dataclass(frozen=True)
class Finding:
    """An entry that cannot be explained."""

    where: str
    """the lockfile that it stands in: the task's, upstream's, or the regenerated one"""
    entry: str
    rule: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where} lockfile, {self.entry}: {self.rule}; expected {self.expected}, found {self.found}"


def judge(
    manager: Manager,
    base: Side,
    task: Side,
    upstream: Side,
    new: Side,
    *,
    folder: str = "",
    hosts: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    """What in the new lockfile, or in either parent, is not explained; nothing is the proof.

    `base` is what the merge base has, `new` the regenerated lockfile with the merged manifests; `folder` is where the
    lockfile lies in the repository, and `hosts` are registries (`name[:port]`) besides the manager's own.
    """
    rules = _rules(manager, base, folder, hosts)
    findings = list(judge_parents(manager, base, task, upstream, folder=folder, hosts=hosts))
    roots = changed(base, task) | changed(base, upstream) | changed(task, new) | changed(upstream, new)
    roots = _with_language(manager, roots, new)
    findings += _judge_new(rules, (task, upstream), new, roots)
    return tuple(dict.fromkeys(findings))


def judge_parents(
    manager: Manager, base: Side, task: Side, upstream: Side, *, folder: str = "", hosts: tuple[str, ...] = ()
) -> tuple[Finding, ...]:
    """What of `judge` needs no new lockfile: to be asked before a package manager reads what others have written."""
    rules = _rules(manager, base, folder, hosts)
    findings: list[Finding] = []
    for where, side in (("the task's", task), ("upstream's", upstream)):
        roots = _with_language(manager, changed(base, side), side)
        findings += _judge_parent(rules, where, base, side, roots)
    return tuple(dict.fromkeys(findings))


def _rules(manager: Manager, base: Side, folder: str, hosts: tuple[str, ...]) -> _Rules:
    origins = {origin(source) for entry in base.entries.values() for source in entry.sources}
    known = {f"https://{host}" for host in (*manager.hosts, *hosts)}
    return _Rules(manager, folder, frozenset(origins | known), frozenset(known))


def changed(before: Side, after: Side) -> frozenset[str]:
    """The names whose requirement differs between two sides, in any manifest; those that are gone included."""
    found = set()
    for manifest in {*before.requirements, *after.requirements}:
        old, new = before.requirements.get(manifest, {}), after.requirements.get(manifest, {})
        found |= {name for name in {*old, *new} if old.get(name) != new.get(name)}
    return frozenset(found)


def _with_language(manager: Manager, roots: frozenset[str], side: Side) -> frozenset[str]:
    """With everything that the changed manifests ask for, when for another version of the language."""
    return roots.union(*side.requirements.values()) if _is_other_language(manager, roots) else roots


def _is_other_language(manager: Manager, roots: frozenset[str]) -> bool:
    return bool(manager.language) and manager.language in roots


def explained(manager: Manager, side: Side, roots: frozenset[str]) -> frozenset[str]:
    """The roots and everything that they need, by the lockfile's edges; all names where it has none and a root is."""
    if not manager.has_edges:
        return frozenset(entry.name for entry in side.entries.values()) if roots else frozenset()
    needs: dict[str, set[str]] = {}
    for entry in side.entries.values():
        needs.setdefault(entry.name, set()).update(entry.needs)
    reached, waiting = set(roots), list(roots)
    while waiting:
        for need in needs.get(waiting.pop(), ()):
            if need not in reached:
                reached.add(need)
                waiting.append(need)
    return frozenset(reached)


def origin(source: str) -> str:
    """`scheme://host[:port]` of an address; the whole of it when readers of URLs may not agree on its host."""
    if source.startswith((IN_TREE, BUNDLED)):
        return source.partition(":")[0]
    try:
        parts = urlsplit(source)
        port = parts.port
    except ValueError:
        return source
    if not _PLAIN_URL.fullmatch(source) or _SHORT_SSH.match(source) or not parts.hostname:
        return source
    if parts.password is not None or (parts.username is not None and "ssh" not in parts.scheme):
        return source
    is_default = port is None or (parts.scheme, port) in (("https", 443), ("http", 80))
    return f"{parts.scheme}://{parts.hostname}{'' if is_default else f':{port}'}"


@dataclass(frozen=True)
class _Rules:
    manager: Manager
    folder: str
    origins: frozenset[str]
    """that an entry may come from"""
    registries: frozenset[str]
    """of these, those where an address tells the package's name"""


def _judge_parent(rules: _Rules, where: str, base: Side, side: Side, roots: frozenset[str]) -> Iterator[Finding]:
    before = _by_name(base)
    reached = explained(rules.manager, side, roots)
    for entry in side.entries.values():
        known = before.get(entry.name, [])
        if entry in known:
            continue
        yield from _sources(rules, where, entry)
        same = [each for each in known if each.version == entry.version]
        yield from _integrity(rules, where, entry, same, _is_other_language(rules.manager, roots))
        if entry.is_alias and known and entry.name not in roots:
            yield Finding(where, str(entry), "another package under this name", entry.name, entry.needs[0])
        if entry.is_local:
            continue
        if not known and entry.name not in reached and entry.has_install_script is not False:
            yield Finding(where, str(entry), "an extra package", "a manifest that asks for it", "none")
        had_script = any(each.has_install_script for each in known)
        if known and entry.has_install_script and not had_script and entry.name not in reached:
            yield Finding(where, str(entry), "a new install script", "no script, as before", "a script")


def _judge_new(rules: _Rules, parents: tuple[Side, Side], new: Side, roots: frozenset[str]) -> Iterator[Finding]:
    where = "the regenerated"
    before: dict[str, list[Entry]] = {}
    for side in parents:
        for name, entries in _by_name(side).items():
            before.setdefault(name, []).extend(entries)
    reached = explained(rules.manager, new, roots)
    for entry in new.entries.values():
        known = before.get(entry.name, [])
        if entry in known:
            continue
        same = [each for each in known if each.version == entry.version]
        yield from _sources(rules, where, entry)
        yield from _integrity(rules, where, entry, same, _is_other_language(rules.manager, roots))
        if entry.is_alias and known and entry.name not in roots:
            yield Finding(where, str(entry), "another package under this name", entry.name, entry.needs[0])
        if entry.is_local:
            continue
        if not same and entry.name not in reached:
            expected = "one that a parent has, or that a changed requirement leads to"
            yield Finding(where, str(entry), "a package from nowhere", expected, "neither")
        if entry.has_install_script and entry.name not in roots and not any(each.has_install_script for each in known):
            yield Finding(where, str(entry), "a new install script", "a manifest that names the package", "none")


def _by_name(side: Side) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in side.entries.values():
        found.setdefault(entry.name, []).append(entry)
    return found


def _integrity(rules: _Rules, where: str, entry: Entry, same: list[Entry], other_files: bool) -> Iterator[Finding]:
    """What was known of this version must still hold; what is new from a registry must have a hash at all.

    `same` are the entries with the same name and version; with `other_files` these may have some files and not others.
    """
    hashed = [each for each in same if each.integrity]
    if other_files and any(_agree(entry.integrity, each.integrity) for each in hashed):
        return
    if hashed and not any(entry.integrity == each.integrity for each in hashed):
        dropped = any(entry.integrity < each.integrity for each in hashed)
        rule = "its integrity was dropped" if dropped else "its integrity changed"
        yield Finding(where, str(entry), rule, _text(hashed[0].integrity), _text(entry.integrity))
    elif same and not hashed and not entry.integrity and not any(entry.sources == each.sources for each in same):
        # Without a hash the address is all that says what it is.
        yield Finding(where, str(entry), "its source changed", _text(same[0].sources), _text(entry.sources))
    elif not same and rules.manager.is_hashed and not entry.integrity and not entry.is_local:
        known = (source in rules.manager.sources or origin(source) in rules.registries for source in entry.sources)
        if all(known):
            yield Finding(where, str(entry), "no integrity", "a hash, as every package from a registry has", "nothing")


def _agree(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two sets of `<file> <hash>` have files in common, and the same hash for each of those."""
    files = [{item.rpartition(" ")[0] for item in each} for each in (one, other)]
    return bool(files[0] & files[1] - {""}) and all(
        item.rpartition(" ")[0] not in files[0] & files[1] for item in one ^ other
    )


def _sources(rules: _Rules, where: str, entry: Entry) -> Iterator[Finding]:
    for source in entry.sources:
        if source == BUNDLED or source in rules.manager.sources:
            continue
        if source.startswith(IN_TREE):
            if _leaves(rules.folder, source.removeprefix(IN_TREE)):
                yield Finding(where, str(entry), "a path outside of the tree", "a path of the repository", source)
            continue
        place = origin(source)
        if place not in rules.origins:
            rule = "a new host" if place.startswith("https://") else "a new kind of address"
            yield Finding(where, str(entry), rule, ", ".join(sorted(rules.registries)), source)
        elif place in rules.registries and not rules.manager.names(entry.name, source):
            yield Finding(where, str(entry), "the address of another package", f"one of {entry.name}", source)


def _leaves(folder: str, path: str) -> bool:
    """Whether a path, relative to a folder of the repository, leads out of it."""
    joined = posixpath.normpath(posixpath.join(folder, path or "."))
    return joined.startswith(("/", "../")) or joined == ".." or path.startswith("~")


def _text(values: frozenset[str] | tuple[str, ...]) -> str:
    return " ".join(sorted(values)) or "nothing"
