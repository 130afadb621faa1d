"""The real package managers regenerate lockfiles after both sides added a dependency and moved the same one.

Upstream and the task start from a lockfile that pins an old version within a range, which no fresh resolution would
choose: it must still stand there afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentd.git.lockfiles import MANAGERS, manager_of
from agentd.git.lockfiles.manager import HOME, Manager
from agentd.git.lockfiles.regenerate import Parents, Regenerated
from agentd.git.lockfiles.scratch import checked_out
from agentd.git.lockfiles.sides import sides_of
from agentd.git.lockfiles.tool import Ran, check
from tests.git.lockfiles.world import World, program_of, works

BY_NAME: dict[str, Manager] = {manager.name: manager for manager in MANAGERS}


def node(dependencies: dict[str, str]) -> dict[str, str]:
    # Sorted: yarn 4 would sort them itself, and a changed manifest is refused.
    content = {"name": "demo", "version": "1.0.0", "private": True, "dependencies": dict(sorted(dependencies.items()))}
    return {"package.json": json.dumps(content, indent=2) + "\n"}


def python(dependencies: dict[str, str]) -> dict[str, str]:
    listed = "".join(f'    "{name}{requirement}",\n' for name, requirement in dependencies.items())
    return {
        "pyproject.toml": '[project]\nname = "demo"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        f"dependencies = [\n{listed}]\n"
    }


def poetry(dependencies: dict[str, str]) -> dict[str, str]:
    """With the registry named as a source: see agentd/git/lockfiles/poetry.py."""
    source = '\n[[tool.poetry.source]]\nname = "index"\nurl = "https://pypi.org/simple/"\npriority = "primary"\n'
    return {"pyproject.toml": python(dependencies)["pyproject.toml"] + source}


def pipfile(dependencies: dict[str, str]) -> dict[str, str]:
    listed = "".join(f'{name} = "{requirement}"\n' for name, requirement in dependencies.items())
    source = '[[source]]\nname = "pypi"\nurl = "https://pypi.org/simple"\nverify_ssl = true\n\n'
    return {"Pipfile": f"{source}[packages]\n{listed}"}


@dataclass(frozen=True)
class Case:
    """One manager: its manifests, the package that is pinned, the one that both move, and what each side adds."""

    manager: str
    folder: str
    """where scripts/install-package-managers has it"""
    manifests: Callable[[dict[str, str]], dict[str, str]]
    pinned: tuple[str, str, str]
    """name, exact requirement that the pin comes from, the range that stands there later"""
    moved: tuple[str, tuple[str, str, str]]
    """name, requirement at the base, upstream's, the task's"""
    added: tuple[tuple[str, str], tuple[str, str]]
    keeps_pins: bool = True


NODE = (
    ("is-number", "6.0.0", ">=6.0.0"),
    ("left-pad", ("1.1.0", "1.2.0", "1.3.0")),
    (("is-odd", "3.0.1"), ("is-even", "1.0.0")),
)
PYTHON = (
    ("inflection", "==0.5.0", ">=0.5.0"),
    ("iniconfig", ("==1.1.1", "==2.0.0", "==2.1.0")),
    (("pluggy", "==1.5.0"), ("python-dateutil", "==2.8.2")),
)
CASES = (
    Case("pnpm", "pnpm", node, *NODE),
    Case("npm", "npm", node, *NODE),
    Case("yarn classic", "yarn", node, *NODE),
    Case("yarn berry", "berry", node, *NODE),
    Case("bun", "bun", node, *NODE),
    Case("uv", "uv", python, *PYTHON),
    Case("poetry", "poetry", poetry, *PYTHON),
    Case("pipenv", "pipenv", pipfile, *PYTHON, keeps_pins=False),
)
FIRST_LOCK = {"yarn berry": {"yarn.lock": ""}}
"""Files without which the program would not take the folder for its own."""


@pytest.mark.network
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.manager)
async def test_both_sides_are_in_the_new_lockfile_and_the_old_pin_stays(world: World, case: Case) -> None:
    manager = BY_NAME[case.manager]
    program = program_of(case.folder, manager.program)
    if program is None:
        pytest.skip(f"{manager.program} is not installed; run scripts/install-package-managers {case.folder}")
    path = f"{program.parent}:{os.environ['PATH']}"
    (pinned, exact, later), (moved, versions), (ours, theirs) = case.pinned, case.moved, case.added
    lockfile = manager.lockfiles[0]

    async def locked(requirements: dict[str, str], *parents: str) -> str:
        commit = world.commit(
            {**case.manifests(requirements), **({} if parents else FIRST_LOCK.get(manager.name, {}))}, *parents
        )
        command = [word.replace(HOME, str(world.folder / "home")) for word in manager.regenerate]
        files = await world.lock(commit, path, command, manager.env)
        return world.commit({lockfile: files[lockfile]}, commit)

    first = await locked({pinned: exact, moved: versions[0]})
    base = await locked({pinned: later, moved: versions[0]}, first)
    upstream = await locked({pinned: later, moved: versions[1], ours[0]: ours[1]}, base)
    task = await locked({pinned: later, moved: versions[2], theirs[0]: theirs[1]}, base)
    merged = case.manifests({pinned: later, moved: versions[2], ours[0]: ours[1], theirs[0]: theirs[1]})
    synced = world.commit(merged, upstream)

    parents = Parents(synced, upstream, task, base)
    done = await world.regenerate(parents, [lockfile], path)

    assert isinstance(done, Regenerated), done
    assert world.changed(synced, done.commit) == [lockfile]
    content = world.read(done.commit, lockfile).encode() + b"\n"
    assert manager_of(lockfile, content) is manager
    entries = {(entry.name, entry.version) for entry in manager.read(content).values()}
    assert (moved, versions[2].lstrip("=")) in entries and (moved, versions[0].lstrip("=")) not in entries
    assert {ours[0], theirs[0]} <= {name for name, _ in entries}
    assert ((pinned, exact.lstrip("=")) in entries) == case.keeps_pins
    async with checked_out(world.mirror, world.folder / "scratch", done.commit):
        ran = await check(manager, lockfile, world.runner(path))
    assert isinstance(ran, Ran) and ran.exit_status == 0, ran
    async with checked_out(world.mirror, world.folder / "scratch", synced):
        stale = await check(manager, lockfile, world.runner(path))
    assert isinstance(stale, Ran) and stale.exit_status != 0, stale
    again = await world.regenerate(parents, [lockfile], path)
    assert again == done, "the same input makes the same commit"
    sides = sides_of(world.mirror, {"base": base, "new": done.commit}, lockfile, "", manager)
    assert len(sides["new"].entries) > len(sides["base"].entries)


def crate(name: str, version: str, *needs: str) -> dict[str, str]:
    folder = "" if name == "demo" else f"{name}/"
    listed = "".join(f'{need} = {{ path = "{need if name == "demo" else f"../{need}"}" }}\n' for need in needs)
    text = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n\n[dependencies]\n{listed}'
    return {f"{folder}Cargo.toml": text, f"{folder}src/lib.rs": ""}


async def test_cargo_brings_path_dependencies_of_both_sides_together(world: World) -> None:
    manager = BY_NAME["cargo"]
    program = program_of("cargo", "cargo")
    if program is None or not works("rustc"):
        pytest.skip("cargo and rustc are not installed")
    # What rustup has on PATH asks it in the home which tool chain is meant.
    version = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True)
    path = f"{version.stdout.strip()}/bin:{os.environ['PATH']}"

    async def locked(files: dict[str, str], *parents: str) -> str:
        commit = world.commit(files, *parents)
        made = await world.lock(commit, path, ["cargo", "update", "--workspace", "--offline"], manager.env)
        return world.commit({"Cargo.lock": made["Cargo.lock"]}, commit)

    base = await locked({**crate("demo", "0.1.0", "moved"), **crate("moved", "1.0.0")})
    ours = {**crate("demo", "0.1.0", "moved", "ours"), **crate("ours", "0.3.0"), **crate("moved", "1.1.0")}
    theirs = {**crate("demo", "0.1.0", "moved", "theirs"), **crate("theirs", "0.4.0"), **crate("moved", "1.2.0")}
    upstream, task = await locked(ours, base), await locked(theirs, base)
    synced = world.commit({**theirs, **crate("demo", "0.1.0", "moved", "ours", "theirs")}, upstream)
    done = await world.regenerate(Parents(synced, upstream, task, base), ["Cargo.lock"], path)
    assert isinstance(done, Regenerated), done
    assert world.changed(synced, done.commit) == ["Cargo.lock"]
    found = manager.read(world.read(done.commit, "Cargo.lock").encode()).values()
    assert {str(e) for e in found} == {"demo@0.1.0", "moved@1.2.0", "ours@0.3.0", "theirs@0.4.0"}
    for commit, fits in ((done.commit, True), (synced, False)):
        async with checked_out(world.mirror, world.folder / "scratch", commit):
            ran = await check(manager, "Cargo.lock", world.runner(path))
        assert isinstance(ran, Ran) and (ran.exit_status == 0) == fits, ran


@pytest.mark.network
async def test_lockfiles_of_a_monorepo_are_regenerated_together(world: World) -> None:
    found = {name: program_of(name, name) for name in ("npm", "uv")}
    if not all(found.values()):
        pytest.skip("npm or uv is not installed; run scripts/install-package-managers npm uv")
    path = ":".join([*(str(program.parent) for program in found.values() if program), os.environ["PATH"]])
    web, api = node({"left-pad": "1.3.0"}), python({"iniconfig": "==2.0.0"})
    files = {f"apps/web/{name}": text for name, text in web.items()} | {f"api/{n}": t for n, t in api.items()}
    files |= {
        "apps/web/package-lock.json": '{"lockfileVersion": 3, "packages": {}}',
        "api/uv.lock": 'version = 1\nrequires-python = ">=3.11"\n',
    }
    empty = world.commit({"README": "x"})
    upstream = world.commit(files, empty)
    lockfiles = ["apps/web/package-lock.json", "api/uv.lock"]
    done = await world.regenerate(Parents(upstream, upstream, None, empty), lockfiles, path)
    assert isinstance(done, Regenerated), done
    assert world.changed(upstream, done.commit) == sorted(lockfiles)


def go_module(proxy: Path, name: str, version: str) -> None:
    """A module of one file on a proxy of files (go.dev/ref/mod, "GOPROXY protocol")."""
    folder = proxy / name / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    package = name.rpartition("/")[2]
    (folder / "list").write_text(f"{version}\n")
    (folder / f"{version}.info").write_text(json.dumps({"Version": version}))
    (folder / f"{version}.mod").write_text(f"module {name}\n")
    with zipfile.ZipFile(folder / f"{version}.zip", "w") as archive:
        archive.writestr(f"{name}@{version}/go.mod", f"module {name}\n")
        archive.writestr(f"{name}@{version}/x.go", f"package {package}\n")


def go_files(*names: str) -> dict[str, str]:
    required = "".join(f"\texample.org/{name} v1.0.0\n" for name in names)
    imports = "".join(f'\t_ "example.org/{name}"\n' for name in names)
    return {
        "go.mod": f"module demo\n\ngo 1.19\n\nrequire (\n{required})\n",
        "main.go": f"package main\n\nimport (\n{imports})\n\nfunc main() {{}}\n",
    }


async def test_go_brings_the_modules_of_both_sides_together(world: World) -> None:
    program = program_of("go", "go")
    if program is None:
        pytest.skip("go is not installed")
    manager, path = BY_NAME["go"], f"{program.parent}:{os.environ['PATH']}"
    for name in ("old", "ours", "theirs"):
        go_module(world.folder / "proxy", f"example.org/{name}", "v1.0.0")
    world.env |= {"GOPROXY": f"file://{world.folder / 'proxy'}", "GOSUMDB": "off"}

    async def locked(files: dict[str, str], *parents: str) -> str:
        commit = world.commit(files, *parents)
        made = await world.lock(commit, path, manager.regenerate, manager.env)
        return world.commit({"go.sum": made["go.sum"]}, commit)

    base = await locked(go_files("old"))
    upstream = await locked(go_files("old", "ours"), base)
    task = await locked(go_files("old", "theirs"), base)
    synced = world.commit(go_files("old", "ours", "theirs"), upstream)
    done = await world.regenerate(Parents(synced, upstream, task, base), ["go.sum"], path)
    assert isinstance(done, Regenerated), done
    assert world.changed(synced, done.commit) == ["go.sum"]
    assert "example.org/theirs v1.0.0 h1:" in world.read(done.commit, "go.sum")
    for commit, fits in ((done.commit, True), (synced, False)):
        async with checked_out(world.mirror, world.folder / "scratch", commit):
            ran = await check(manager, "go.sum", world.runner(path))
        assert isinstance(ran, Ran) and (ran.exit_status == 0) == fits, ran
