"""Regeneration, with package managers that are scripts of the test's own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentd.git.lockfiles import MANAGERS
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.regenerate import Parents, Regenerated
from agentd.git.lockfiles.tool import Refused
from tests.git.lockfiles.world import World

LOCK = '{{\n  "lockfileVersion": {version},\n  "packages": {{{packages}}}\n}}\n'
PACKAGE = '"node_modules/{name}": {{"version": "1.0.0", "integrity": "sha512-{name}"}}'


def lock(*names: str, version: int = 3) -> str:
    return LOCK.format(version=version, packages=", ".join(PACKAGE.format(name=name) for name in names))


def manifest(*names: str) -> str:
    return '{"dependencies": {' + ", ".join(f'"{name}": "1"' for name in names) + "}}"


def programs(world: World, scripts: Mapping[str, str]) -> str:
    """A PATH on which these shell scripts come first."""
    folder = world.folder / "programs"
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def sides(world: World, path: str = "package-lock.json") -> Parents:
    """Both sides add a package; the synced commit has both manifests' and, for the test, a lockfile of neither."""
    folder = path.rpartition("/")[0]
    manifests = f"{folder}/package.json" if folder else "package.json"
    base = world.commit({manifests: manifest("old"), path: lock("old")})
    upstream = world.commit({manifests: manifest("old", "ours"), path: lock("old", "ours")}, base)
    task = world.commit({manifests: manifest("old", "theirs"), path: lock("old", "theirs")}, base)
    synced = world.commit({manifests: manifest("old", "ours", "theirs"), path: "<<<<<<< text\n"}, upstream)
    return Parents(synced, upstream, task, base)


def adding_theirs() -> str:
    """A package manager that keeps what stands there and adds one package."""
    return f"sed -i 's|}}}}$|}}, {PACKAGE.format(name='theirs')}}}|' package-lock.json"


@pytest.mark.parametrize("path", ["package-lock.json", "apps/web/package-lock.json"])
async def test_it_starts_from_upstreams_lockfile_in_any_folder(world: World, path: str) -> None:
    parents = sides(world, path)
    done = await world.regenerate(parents, [path], programs(world, {"npm": adding_theirs()}))
    assert isinstance(done, Regenerated), done
    text = world.read(done.commit, path) + "\n"
    assert text == lock("old", "ours", "theirs")
    assert world.changed(parents.synced, done.commit) == [path]


async def test_the_same_input_makes_the_same_commit(world: World) -> None:
    parents, path = sides(world), programs(world, {"npm": adding_theirs()})
    first = await world.regenerate(parents, ["package-lock.json"], path)
    time.sleep(1.1)
    assert await world.regenerate(parents, ["package-lock.json"], path) == first


async def test_upstreams_lockfile_that_fits_already_is_no_new_commit(world: World) -> None:
    parents = sides(world)
    same = Parents(parents.upstream, parents.upstream, parents.base, parents.base)
    done = await world.regenerate(same, ["package-lock.json"], programs(world, {"npm": "true"}))
    assert isinstance(done, Regenerated) and done.commit == parents.upstream


async def test_a_lockfile_that_only_the_task_has_starts_from_its_own(world: World) -> None:
    base = world.commit({"package.json": manifest("old")})
    task = world.commit({"package-lock.json": lock("old")}, base)
    done = await world.regenerate(
        Parents(task, base, task, base), ["package-lock.json"], programs(world, {"npm": "true"})
    )
    assert isinstance(done, Regenerated) and done.commit == task


async def test_a_program_of_another_age_is_refused(world: World) -> None:
    script = "sed -i 's|: 3,|: 4,|' package-lock.json; " + adding_theirs()
    refused = await world.regenerate(sides(world), ["package-lock.json"], programs(world, {"npm": script}))
    assert isinstance(refused, Refused) and refused.kind == "tool"
    assert '"lockfileVersion": 4' in refused.reason and '"lockfileVersion": 3' in refused.reason


async def test_yarn_4_is_not_let_near_a_lockfile_of_yarn_1(world: World) -> None:
    base = world.commit({"yarn.lock": "# yarn lockfile v1\n", "package.json": "{}"})
    path = programs(world, {"yarn": 'test "$1" = --version && echo 4.5.0 || echo __metadata: > yarn.lock'})
    refused = await world.regenerate(Parents(base, base, base, base), ["yarn.lock"], path)
    assert isinstance(refused, Refused) and refused.kind == "tool"
    assert refused.reason == "yarn on PATH is 4.5.0, and the lockfile is of yarn classic"


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("exit 1", "failed", "ended with 1"),
        ("for i in $(seq 50); do echo line $i; done; exit 2", "failed", "line 50"),
        ("echo ECONNREFUSED; exit 1", "unreachable", "registry.npmjs.org"),
        ("echo x > package.json", "touched", "package.json"),
        ("echo x > new", "touched", "new"),
        ("rm package-lock.json; ln -s package.json package-lock.json", "touched", "package-lock.json"),
        ("echo '{' > package-lock.json", "unreadable", "package-lock.json"),
        (f"{adding_theirs()}; sed -i s/sha512-old/sha512-bent/ package-lock.json", "provenance", "old@1.0.0"),
        (
            f"sed -i 's|}}}}$|}}, {PACKAGE.format(name='stranger')}}}|' package-lock.json",
            "provenance",
            "stranger@1.0.0",
        ),
    ],
)
async def test_what_went_wrong_is_said(world: World, script: str, kind: str, said: str) -> None:
    refused = await world.regenerate(sides(world), ["package-lock.json"], programs(world, {"npm": script}))
    assert isinstance(refused, Refused) and refused.kind == kind and said in refused.reason, refused
    assert "line 1\n" not in refused.reason


async def test_a_parent_that_was_bent_is_refused_though_the_tool_is_honest(world: World) -> None:
    parents = sides(world)
    bent = world.commit(
        {"package-lock.json": lock("old", "theirs").replace("sha512-old", "sha512-bent")}, parents.task or ""
    )
    path = programs(world, {"npm": adding_theirs()})
    refused = await world.regenerate(
        Parents(parents.synced, parents.upstream, bent, parents.base), ["package-lock.json"], path
    )
    assert isinstance(refused, Refused) and [finding.where for finding in refused.findings] == ["the task's"]


async def test_what_is_no_lockfile_is_refused(world: World) -> None:
    base = world.commit({"README": "x", "yarn.lock": "text"})
    for path in ("README", "yarn.lock", "absent/uv.lock"):
        refused = await world.regenerate(Parents(base, base, base, base), [path], os.environ["PATH"])
        assert isinstance(refused, Refused) and refused.kind == "unreadable" and path in refused.reason


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
async def test_every_manager_is_called_with_its_own_words(world: World, manager: Manager, tmp_path: Path) -> None:
    """Its commands reach the program as they stand in the table, with the home filled in, in the lockfile's folder."""
    version = {"yarn classic": "1.22.22", "yarn berry": "4.1.0"}.get(manager.name, "1.0")
    log = tmp_path / "called"
    script = f'test "$1" = --version && echo {version} && exit; pwd > {log}; env >> {log}; echo "$@" >> {log}; exit 7'
    first = {"yarn classic": "# yarn lockfile v1\n", "yarn berry": "__metadata:\n"}.get(manager.name, "x")
    path = f"sub/{manager.lockfiles[0]}"
    base = world.commit({path: first})
    on_path = programs(world, {manager.program: script})
    refused = await world.regenerate(Parents(base, base, base, base), [path], on_path)
    assert isinstance(refused, Refused) and "ended with 7" in refused.reason, refused
    place, *_, words = log.read_text().splitlines()
    assert place.endswith("/tree/sub")
    assert words == " ".join(manager.regenerate[1:]).replace("{home}", str(world.folder / "home"))
    environment = log.read_text()
    for name, value in manager.env.items():
        assert f"\n{name}={value.replace('{home}', str(world.folder / 'home'))}\n" in environment


async def test_entries_may_come_from_a_mirror_of_the_settings(world: World) -> None:
    mirror = '"resolved": "https://mirror.example:8443/theirs/-/theirs-1.0.0.tgz", '
    script = adding_theirs().replace('"version"', f'{mirror}"version"')
    path, parents = programs(world, {"npm": script}), sides(world)
    refused = await world.regenerate(parents, ["package-lock.json"], path)
    assert isinstance(refused, Refused) and "a new host" in refused.reason
    done = await world.regenerate(parents, ["package-lock.json"], path, hosts=("mirror.example:8443",))
    assert isinstance(done, Regenerated), done
