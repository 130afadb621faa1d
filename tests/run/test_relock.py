"""Lockfiles are regenerated in the sandbox: by real package managers, and by one that does what it may not."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.config_tables import LockfileSettings
from agentd.errors import ConfigurationError
from agentd.git.lockfiles.tool import Refused
from agentd.git.mirror import Mirror
from agentd.git.runner import git
from agentd.model import Profile, Run, Task
from agentd.run.claim import Holding
from agentd.run.context import Context, Order
from agentd.run.desk import Desk
from agentd.run.process import Ended, GuardianDied
from agentd.run.relock import Relocked, environment_of, parents_of, relock
from agentd.store.connection import Store
from tests.git.lockfiles.world import AUTHOR, CERTIFICATES, ROOT, World, program_of

SECRET = "ghp_" + "s" * 36
COMPOSER = """#!/bin/sh
# Does what the repository says, as a package manager's plugin would.
[ "$1" = validate ] && exec sh ./check.sh
exec sh ./behaviour.sh
"""
EMPTY_LOCK = '{"packages": []}\n'


@dataclass
class Rig:
    """A desk at which only lockfiles are worked on. What a dead guardian leaves is looked for by the run's id."""

    world: World
    store: Store
    folder: Path
    path: str
    settings: dict[str, Any]
    environ: dict[str, str]

    def desk(self) -> Desk:
        clock = SystemClock()
        settings = Settings(repo="o/r", state_dir=self.folder / "state", log_dir=self.folder / "logs", **self.settings)
        environ = {"PATH": self.path, "GITHUB_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, **self.environ}
        context = Context(settings, self.store, cast(Any, None), self.world.mirror, clock, "e", environ, "h")
        now = clock.now()
        task = Task(
            task_id="P0-01",
            issue_number=1,
            title="t",
            goal="g",
            verify_command="true",
            rollback_note="",
            created_at=now,
        )
        run = Run(
            run_id=f"run-{os.getpid()}-abcdef", task_id="P0-01", issue_number=1, attempt=1, profile="p@1",
            state="syncing", branch="agent/P0-01", started_at=now, updated_at=now,
        )  # fmt: skip
        order = Order(task=task, profile=Profile(name="p", adapter="command"), prompt="", sandbox="none")
        holding = cast(Holding, SimpleNamespace(deadline=lambda: clock.boottime() + 600))
        context.run_dir(run.run_id).mkdir(parents=True, exist_ok=True)
        return Desk(context, run, order, holding)

    async def relock(
        self, synced: str, upstream: str, *lockfiles: str, merged: tuple[str, ...] = (), **more: Any
    ) -> Relocked | Refused:
        return await relock(self.desk(), synced, upstream, lockfiles, merged, **more)

    def left(self) -> set[str]:
        return {path.name for path in self.desk().run_dir.iterdir() if path.is_dir()}


@pytest.fixture
def rig(tmp_path: Path, store: Store) -> Rig:
    path = tmp_path / "mirror.git"
    git("init", "--quiet", "--bare", str(path), cwd=tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "composer").write_text(COMPOSER)
    (programs / "composer").chmod(0o755)
    world = World(Mirror(path, "", "", "main", AUTHOR), tmp_path)
    return Rig(world, store, tmp_path, f"{programs}:/usr/bin:/bin", {}, {})


def commits(rig: Rig, behaviour: str, check: str = "exit 1") -> tuple[str, str]:
    """(synced, upstream) of a repository with one lockfile and a package manager that does what it is told."""
    files = {"app/composer.json": "{}", "app/composer.lock": EMPTY_LOCK, "app/check.sh": check}
    upstream = rig.world.commit({**files, "app/behaviour.sh": behaviour, "README": "x"})
    return rig.world.commit({"app/composer.json": '{"require": {"a/b": "1.0"}}'}, upstream), upstream


LOCK = "app/composer.lock"
NEW = '{"packages": [{"name": "a/b", "version": "1.0", "dist": {"url": "https://github.com/a/b", "shasum": "1"}}]}'
WRITES = f"printf '%s' '{NEW}' > composer.lock"


@pytest.mark.parametrize("sandbox", ["required", "none"])
async def test_the_commit_stands_on_the_synced_one_and_holds_the_lockfile_alone(rig: Rig, sandbox: str) -> None:
    rig.settings["sandbox"] = sandbox
    synced, upstream = commits(rig, WRITES)
    done = await rig.relock(synced, upstream, LOCK)
    assert isinstance(done, Relocked), done
    assert rig.world.changed(synced, done.commit) == [LOCK] and done.resolved == (LOCK,)
    assert rig.world.read(done.commit, LOCK) == NEW
    assert rig.world.mirror.git("rev-parse", f"{done.commit}^") == synced
    subject = rig.world.mirror.git("show", "--no-patch", "--format=%s%n%an", done.commit)
    assert subject == "chore: regenerate lockfiles after sync\ntester"
    assert await rig.relock(synced, upstream, LOCK) == done, "the same again"
    assert rig.left() == set(), "scratch tree and home are gone"


LOOKS = """
echo "tmp=$TMPDIR"
echo "names=$(env | cut -d= -f1 | sort | tr '\\n' ' ')"
grep -l {secret} /proc/*/environ 2>/dev/null && echo secret found
for place in {mirror} {state} {repository}; do ls -A $place 2>/dev/null | grep -q . && echo "seen $place"; done
ls -A . .. | grep '^\\.git$' && echo repository found
exit 3
"""


MAY_SEE = {
    *(
        "PATH",
        "HOME",
        "LANG",
        "TERM",
        "CI",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "AGENTD_RUN_ID",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("YARN_HTTP_PROXY", "YARN_HTTPS_PROXY", "NODE_USE_ENV_PROXY", "COMPOSER_HOME", "COMPOSER_ALLOW_SUPERUSER"),
}


async def test_it_sees_no_secret_and_nothing_else_of_the_host(rig: Rig) -> None:
    places = {"mirror": rig.world.mirror.path, "state": rig.folder / "state", "repository": ROOT}
    rig.environ["TMPDIR"] = str(rig.folder)
    synced, upstream = commits(rig, LOOKS.format(secret=SECRET, **places))
    refused = await rig.relock(synced, upstream, LOCK)
    assert isinstance(refused, Refused) and refused.kind == "failed"
    assert "ended with 3" in refused.reason and "tmp=/tmp\n" in refused.reason
    assert "seen" not in refused.reason and "found" not in refused.reason
    found = re.search("names=(.*)", refused.reason)
    assert found and set(found[1].split()) <= MAY_SEE


NESTED = "git init -q nested; git -C nested -c user.name=x -c user.email=x@y commit -q --allow-empty -m x"
CONNECTS = """
ask() { bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128
printf "CONNECT $0 HTTP/1.1\\r\\n\\r\\n" >&3; cat <&3' "$1" | grep agentd; }
ask example.org:443
ask mirror.invalid:8443
exit 3
"""


async def test_it_reaches_its_registries_and_the_mirror_of_the_settings_alone(rig: Rig) -> None:
    rig.settings["lockfiles"] = LockfileSettings(hosts=("mirror.invalid:8443",))
    refused = await rig.relock(*commits(rig, CONNECTS), LOCK)
    assert isinstance(refused, Refused)
    assert "example.org:443 is not on the list of hosts" in refused.reason
    assert "mirror.invalid has no address" in refused.reason


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        (f"{WRITES}; echo x >> composer.json", "touched", "app/composer.json"),
        (f"{WRITES}; echo x > ../new-file", "touched", "new-file"),
        (f"{WRITES}; rm ../README", "touched", "README"),
        (f"{WRITES}; git init -q nested; echo x > nested/e", "touched", "nested"),
        ("rm composer.lock; ln -s /etc/passwd composer.lock", "touched", "no plain file"),
        ("rm composer.lock", "touched", "no plain file"),
        ("echo 'not json' > composer.lock", "unreadable", LOCK),
        (WRITES.replace("github.com", "evil.example"), "provenance", "evil.example"),
        (f"{WRITES}; {NESTED}", "touched", "nested"),
        ("sleep 20", "timeout", "in time"),
        ("echo getaddrinfo ENOTFOUND repo.packagist.org; exit 1", "unreachable", "lockfiles.hosts"),
    ],
)
async def test_what_is_refused_changes_nothing(rig: Rig, behaviour: str, kind: str, said: str) -> None:
    rig.settings["lockfiles"] = LockfileSettings(timeout_minutes=0.05 if kind == "timeout" else 1)
    synced, upstream = commits(rig, behaviour)
    refused = await rig.relock(synced, upstream, LOCK)
    assert isinstance(refused, Refused) and refused.kind == kind and said in refused.reason, refused
    assert rig.left() == set()


async def test_a_lockfile_that_merged_as_text_is_regenerated_only_when_it_does_not_fit(rig: Rig) -> None:
    fits = commits(rig, WRITES, check="exit 0")
    assert await rig.relock(*fits, merged=(LOCK,)) == Relocked(fits[0], ())
    stale = commits(rig, WRITES, check="exit 1")
    done = await rig.relock(*stale, merged=(LOCK,))
    assert isinstance(done, Relocked) and done.resolved == (LOCK,)


async def test_without_its_tool_a_lockfile_is_refused_and_a_merged_one_reported(rig: Rig) -> None:
    rig.path = "/usr/bin:/bin"
    synced, upstream = commits(rig, WRITES)
    refused = await rig.relock(synced, upstream, LOCK)
    assert isinstance(refused, Refused) and refused.kind == "tool" and "composer is not installed" in refused.reason
    done = await rig.relock(synced, upstream, merged=(LOCK,))
    assert isinstance(done, Relocked) and done.commit == synced
    assert len(done.notes) == 1 and "not checked: composer is not installed" in done.notes[0]


async def test_what_an_earlier_incarnation_left_is_no_result(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, upstream = commits(rig, WRITES)
    left = Ended("exited", 0, 1.0, 0, 0)
    (rig.desk().run_dir / "relock-1.result.json").write_text(json.dumps(asdict(left)))
    monkeypatch.setattr("agentd.run.process.GUARDIAN", Path("/dev/null"))  # ends at once, as one that is killed
    with pytest.raises(GuardianDied):
        await rig.relock(synced, upstream, LOCK)
    assert rig.left() == set()


async def test_it_can_be_switched_off(rig: Rig) -> None:
    rig.settings["disable_lockfile_auto_resolve"] = True
    synced, upstream = commits(rig, WRITES)
    refused = await rig.relock(synced, upstream, LOCK)
    assert isinstance(refused, Refused) and refused.kind == "disabled"


@pytest.mark.parametrize(
    ("settings", "environ", "named"),
    [
        (LockfileSettings(env={"npm_config_registry": "https://me:pw@mirror.example/"}), {}, "npm_config_registry"),
        (LockfileSettings(), {"UV_INDEX_URL": "https://token@mirror.example/simple"}, "UV_INDEX_URL"),
        (LockfileSettings(pass_env=("NPM_TOKEN",)), {"NPM_TOKEN": "x"}, "NPM_TOKEN"),
    ],
)
async def test_a_credential_in_the_settings_is_refused_by_name_and_not_shown(
    rig: Rig, settings: LockfileSettings, environ: dict[str, str], named: str
) -> None:
    rig.settings["lockfiles"], rig.environ = settings, environ
    with pytest.raises(ConfigurationError, match=f"lockfiles: {named} holds a credential") as raised:
        await rig.relock(*commits(rig, WRITES), LOCK)
    assert "pw" not in str(raised.value) and "token@" not in str(raised.value)


def test_a_mirror_without_credentials_reaches_the_package_managers() -> None:
    settings = LockfileSettings(
        hosts=("Mirror.example:8443",), env={"npm_config_registry": "https://mirror.example:8443/"}
    )
    assert settings.hosts == ("mirror.example:8443",)
    env = environment_of(settings, {"UV_INDEX_URL": "https://mirror.example:8443/simple", "X": "y"}, Path("/h"))
    assert env["npm_config_registry"] and env["UV_INDEX_URL"] and env["HOME"] == "/h" and "X" not in env


def test_the_sides_of_a_merge_and_of_a_rebase_are_found(rig: Rig) -> None:
    base = rig.world.commit({"a": "1"})
    task = rig.world.commit({"b": "1"}, base)
    upstream = rig.world.commit({"c": "1"}, base)
    merge = rig.world.commit({}, task, upstream)
    rebased = rig.world.commit({"b": "1"}, upstream)
    mirror = rig.world.mirror
    assert (parents_of(mirror, merge, upstream, "P0-01").task, parents_of(mirror, merge, upstream, "P0-01").base) == (
        task,
        base,
    )
    assert parents_of(mirror, rebased, upstream, "P0-01").task is None
    assert parents_of(mirror, rebased, upstream, "P0-01", task).base == base
    mirror.git("update-ref", "refs/remotes/origin/agent/P0-01", task)
    assert parents_of(mirror, rebased, upstream, "P0-01").task == task


def node(dependencies: dict[str, str]) -> str:
    """As yarn 4 would write it: it would change any other."""
    return json.dumps({"name": "demo", "version": "1.0.0", "dependencies": dependencies}, indent=2) + "\n"


NODE = node({"left-pad": "1.3.0"})
MORE_NODE = node({"is-odd": "3.0.1", "left-pad": "1.3.0"})
PYTHON = '[project]\nname = "demo"\nversion = "0.1.0"\nrequires-python = ">=3.11"\ndependencies = [%s]\n'
HTML_INDEX = '[[tool.poetry.source]]\nname = "index"\nurl = "https://pypi.org/simple/"\npriority = "primary"\n'
PIPFILE = '[[source]]\nname = "pypi"\nurl = "https://pypi.org/simple"\nverify_ssl = true\n[packages]\n'
CRATE = '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n'
REAL = {
    "pnpm": ("pnpm", "pnpm-lock.yaml", {"package.json": NODE}, {"package.json": MORE_NODE}, "is-odd"),
    "npm": ("npm", "package-lock.json", {"package.json": NODE}, {"package.json": MORE_NODE}, "is-odd"),
    "yarn": ("yarn", "yarn.lock", {"package.json": NODE}, {"package.json": MORE_NODE}, "is-odd"),
    "berry": ("yarn", "yarn.lock", {"package.json": NODE}, {"package.json": MORE_NODE}, "is-odd"),
    "bun": ("bun", "bun.lock", {"package.json": NODE}, {"package.json": MORE_NODE}, "is-odd"),
    "uv": (
        *("uv", "uv.lock"),
        {"pyproject.toml": PYTHON % '"inflection==0.5.0"'},
        {"pyproject.toml": PYTHON % '"inflection==0.5.0", "pluggy==1.5.0"'},
        "pluggy",
    ),
    "poetry": (
        *("poetry", "poetry.lock"),
        {"pyproject.toml": PYTHON % '"inflection==0.5.0"' + HTML_INDEX},
        {"pyproject.toml": PYTHON % '"inflection==0.5.0", "pluggy==1.5.0"' + HTML_INDEX},
        "pluggy",
    ),
    "pipenv": (
        *("pipenv", "Pipfile.lock"),
        {"Pipfile": PIPFILE},
        {"Pipfile": PIPFILE + 'pluggy = "==1.5.0"\n'},
        "pluggy",
    ),
    "cargo": (
        *("cargo", "Cargo.lock"),
        {"Cargo.toml": CRATE % "demo", "src/lib.rs": "", "other/Cargo.toml": CRATE % "other", "other/src/lib.rs": ""},
        {"Cargo.toml": CRATE % "demo" + 'other = { path = "other" }\n'},
        "other",
    ),
}
FIRST_LOCK = {
    "pnpm": "lockfileVersion: '9.0'\n",
    "npm": '{\n  "lockfileVersion": 3,\n  "packages": {}\n}\n',
    "yarn": "# yarn lockfile v1\n",
    "berry": "__metadata:\n  version: 10\n",
    "bun": '{\n  "lockfileVersion": 2,\n  "workspaces": {"": {"name": "demo"}},\n  "packages": {}\n}\n',
    "uv": 'version = 1\nrequires-python = ">=3.11"\n',
    "poetry": 'package = []\n[metadata]\nlock-version = "2.1"\npython-versions = ">=3.11"\ncontent-hash = "0"\n',
    "pipenv": '{"_meta": {"pipfile-spec": 6, "hash": {}, "sources": []}, "default": {}, "develop": {}}\n',
    "cargo": 'version = 3\n\n[[package]]\nname = "demo"\nversion = "0.1.0"\n',
}


@pytest.mark.network
@pytest.mark.parametrize("manager", REAL)
async def test_real_package_managers_run_in_the_sandbox(rig: Rig, manager: str) -> None:
    program, lockfile, manifests, change, added = REAL[manager]
    found = program_of(manager, program)
    if found is None:
        pytest.skip(f"{program} is not installed; run scripts/install-package-managers {manager}")
    rig.path = f"{found.parent}:{os.environ['PATH']}"
    rig.environ = {name: os.environ[name] for name in CERTIFICATES if name in os.environ}
    rig.settings["lockfiles"] = LockfileSettings(private_hosts=True)
    # An empty lockfile, so that every entry must be explained by a manifest.
    empty = rig.world.commit({"README": "x"})
    upstream = rig.world.commit({**manifests, lockfile: FIRST_LOCK[manager]}, empty)
    synced = rig.world.commit(change, upstream)
    done = await rig.relock(synced, upstream, lockfile, task=rig.world.commit({**manifests, **change}, empty))
    assert isinstance(done, Relocked), done
    assert rig.world.changed(synced, done.commit) == [lockfile]
    assert added in rig.world.read(done.commit, lockfile)
