"""Lockfiles after a sync: the package managers bring them up to date in a sandbox, and what they wrote is proven.

They see the synced tree and nothing else of this host: no repository, no agent, no secret; of the network their
registries. They run repository code all the same (plugins, a Gemfile, .pnpmfile.cjs), which is why it is a sandbox.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agentd.agents import LaunchSpec
from agentd.agents.environment import base_environment, secret_values
from agentd.config_tables import LockfileSettings
from agentd.errors import ClaimLost, ConfigurationError
from agentd.git.lockfiles import manager_of
from agentd.git.lockfiles.entry import LockfileUnreadable
from agentd.git.lockfiles.regenerate import Parents, regenerate
from agentd.git.lockfiles.scratch import blob_of, checked_out, content_of
from agentd.git.lockfiles.tool import Ran, Refused, Runner, check
from agentd.git.mirror import Mirror, is_ancestor, remote_branch
from agentd.git.workspace import Workspace, remove
from agentd.model import Profile
from agentd.run.desk import Desk, RunEnd, supervise
from agentd.run.enclosure import NOT_INSIDE, Enclosure, Teller, limits_of
from agentd.run.process import NO_SANDBOX, Ended, Program, output_of
from agentd.sandbox.doors import Doors, Reach, open_doors
from agentd.sandbox.installations import installation
from agentd.sandbox.profile import HOME, WORKSPACE, SandboxSpec, merged
from agentd.sandbox.toolchains import PROGRAMS, find_tool_chains
from agentd.states import RunState

HTTPS = 443
OUTPUT_BYTES = 65_536
IN_FOLDER = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh")
_USER_IN_URL = re.compile(r"://[^/\s@]*@")


@dataclass(frozen=True)
class Relocked:
    """The commit to go on with."""

    commit: str
    """the synced one when no lockfile had to change"""
    resolved: tuple[str, ...]
    """lockfiles that were regenerated"""
    notes: tuple[str, ...] = ()
    """for people: what could not be checked, and why"""


async def relock(
    desk: Desk,
    synced_sha: str,
    base: str,
    lockfiles: Sequence[str],
    merged_lockfiles: Sequence[str] = (),
    *,
    task: str | None = None,
) -> Relocked | Refused:
    """A commit on the synced one in which the lockfiles fit the manifests.

    `base` is upstream's commit; `lockfiles` were in conflict, and upstream's stand in the synced commit;
    `merged_lockfiles` merged as text, and are regenerated only where their package manager says that they do not fit.
    `task` is the task's branch before the sync; without it the synced commit's other parent, or the fetched branch.
    Refused changes nothing. Raises RunEnd, ClaimLost and GitError as every stage does, and ConfigurationError naming a
    setting.
    """
    context, settings = desk.context, desk.context.settings
    if settings.disable_lockfile_auto_resolve:
        return Refused("disable_lockfile_auto_resolve is set: a lockfile is a file like any other", "disabled")
    environment_of(settings.lockfiles, context.environ, Path(HOME))  # what is wrong with it is said before any work
    scratch = desk.run_dir / "relock"
    async with _home(desk.run_dir / "relock-home") as home:

        def runner_in(place: Workspace) -> Runner:
            return _Sandboxed(desk, place, home)

        stale, notes = await _checked(desk, synced_sha, merged_lockfiles, runner_in, scratch)
        wanted = tuple(sorted({*lockfiles, *stale}))
        if not wanted:
            return Relocked(synced_sha, (), notes)
        parents = await asyncio.to_thread(parents_of, context.mirror, synced_sha, base, desk.task.task_id, task)
        done = await regenerate(context.mirror, parents, wanted, scratch, runner_in, settings.lockfiles.hosts)
    return done if isinstance(done, Refused) else Relocked(done.commit, done.resolved, notes)


def parents_of(mirror: Mirror, synced: str, base: str, task_id: str, task: str | None = None) -> Parents:
    """The two sides of a synced commit, and their merge base."""
    if task is None:
        others = mirror.git("rev-list", "--max-count=1", "--parents", synced).split()[1:]
        if base in others and len(others) == 2:
            task = next(each for each in others if each != base)
        else:
            branch = remote_branch(mirror, task_id)
            task = branch if branch and not is_ancestor(mirror, branch, base) else None
    fork = mirror.git("merge-base", base, task or synced, accept=(0, 1)) or None
    return Parents(synced, base, task, fork)


def environment_of(settings: LockfileSettings, environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """What package managers get of agentd's environment and of the settings. Raises ConfigurationError for a secret."""
    named = {name: environ[name] for name in settings.pass_env if name in environ} | settings.env
    for name, value in named.items():
        if secret_values({name: "x"}) or _USER_IN_URL.search(value):
            raise ConfigurationError(
                f"lockfiles: {name} holds a credential; package managers run beside the repository's own code, which "
                "could read it: remove it from lockfiles.env and lockfiles.pass_env, and name a mirror that needs none"
            )
    profile = Profile(name="lockfiles", adapter="command", env=settings.env, pass_env=settings.pass_env)
    return base_environment(LaunchSpec("", home, home, profile, dict(environ), 0, home / "none"))


async def _checked(
    desk: Desk, synced: str, paths: Sequence[str], runner_in: Callable[[Workspace], Runner], scratch: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(lockfiles that merged as text and do not fit, notes on those that could not be checked)."""
    stale, notes = [], []
    if not paths:
        return (), ()
    async with checked_out(desk.context.mirror, scratch, synced) as place:
        runner = runner_in(place)
        for path in sorted(dict.fromkeys(paths)):
            try:
                blob = blob_of(desk.context.mirror, synced, path)
                manager = manager_of(path, content_of(desk.context.mirror, blob)) if blob else None
            except LockfileUnreadable as error:
                notes.append(f"{path}: not checked: {error}")
                continue
            if manager is None:
                notes.append(f"{path}: not checked: no package manager that agentd knows")
                continue
            ran = await check(manager, path, runner, desk.context.settings.lockfiles.hosts)
            if isinstance(ran, Refused):
                notes.append(f"{path}: not checked: {ran.reason}")
            elif ran.exit_status:
                stale.append(path)
    return tuple(stale), tuple(notes)


@asynccontextmanager
async def _home(path: Path) -> AsyncIterator[Path]:
    """An empty home that the package managers of one relock share; removed at the end."""
    await asyncio.to_thread(remove, path)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield path
    finally:
        await asyncio.to_thread(remove, path)


class _Sandboxed:
    """Runs package managers in a tree: in a sandbox, or on the host where the run's other programs run there too."""

    def __init__(self, desk: Desk, place: Workspace, home: Path) -> None:
        self._desk, self._place, self._home = desk, place, home
        self._count = 0

    @property
    def home(self) -> str:
        return HOME if self._desk.is_sandboxed else str(self._home)

    async def run(self, argv: Sequence[str], folder: str, env: Mapping[str, str], hosts: Sequence[str]) -> Ran:
        desk, context = self._desk, self._desk.context
        self._count += 1
        name = f"relock-{self._count}"
        path = context.environ.get("PATH", "")
        found = shutil.which(argv[0], path=path)
        if found is None:
            return Ran(127, "it is not on PATH", "not_installed")
        outer = {n: v for n, v in context.environ.items() if not desk.is_sandboxed or n not in NOT_INSIDE}
        given = environment_of(context.settings.lockfiles, outer, Path(self.home)) | dict(env)
        # An earlier incarnation's result would be taken for this one's.
        (desk.run_dir / f"{name}.result.json").unlink(missing_ok=True)
        (desk.run_dir / f"{name}.log").unlink(missing_ok=True)
        limits = limits_of(context.settings)
        if not desk.is_sandboxed:
            inside = Enclosure(self._place.path, self._home, {}, self._place, self._home, limits)
            return await self._supervised(inside, name, (found, *argv[1:]), folder, given)
        try:
            word, spec = self._spec(Path(found).absolute(), path)
        except ConfigurationError as error:
            return Ran(127, str(error), "not_installed")
        reach = Reach(frozenset(map(_address, hosts)), private=context.settings.lockfiles.private_hosts)
        async with open_doors(desk.run_dir / "doors-relock", reach, Teller(desk)) as doors:
            spec = replace(spec, mounts=merged(spec.mounts, doors.mounts))
            inside = Enclosure(Path(WORKSPACE), Path(HOME), {}, self._place, self._home, limits, spec, doors)
            given |= {"PATH": spec.path} | _yarn_proxy(doors)
            return await self._supervised(inside, name, (word, *argv[1:]), folder, given)

    def _spec(self, program: Path, path: str) -> tuple[str, SandboxSpec]:
        """The program as it is called inside, and a sandbox with it, the tool chains, and nothing of the mirror."""
        chains = find_tool_chains(path, Path.home())
        place = SandboxSpec(self._place.path, self._home, mounts=chains.mounts, links=chains.links, path=chains.path)
        if program.name in PROGRAMS:
            # By its name: what rustup has on PATH is not the program itself.
            refused = find_tool_chains(path, Path.home(), [program.name]).refused
            if refused:
                raise ConfigurationError(refused[0])
            return program.name, place
        installed = installation(program, path)
        return str(program), replace(
            place,
            mounts=merged(chains.mounts, installed.mounts),
            links=(*chains.links, *installed.links),
            path=":".join([chains.path, *installed.folders]),
        )

    async def _supervised(
        self, inside: Enclosure, name: str, argv: tuple[str, ...], folder: str, env: dict[str, str]
    ) -> Ran:
        desk = self._desk
        program = Program(
            name,
            (*IN_FOLDER, f"./{folder}", *argv),
            env,
            inside.workspace,
            desk.context.settings.lockfiles.timeout_minutes * 60,
            desk.context.settings.max_output_bytes,
            grace_seconds=1.0,
            secrets=desk.secrets,
        )
        ended = await supervise(desk, inside.contain(program, desk.run_dir), desk.run_dir / f"{name}.log")
        return _ran(desk, name, ended)


def _ran(desk: Desk, name: str, ended: Ended) -> Ran:
    log = desk.run_dir / f"{name}.log"
    source = log if log.exists() else output_of(desk.run_dir, name)
    output = source.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace") if source.exists() else ""
    if ended.ended in {"lease_lost", "orphaned"}:
        raise ClaimLost(f"{desk.task.task_id}: the lease ran out while lockfiles were regenerated")
    if ended.ended == "not_started" and ended.message.startswith(NO_SANDBOX):
        raise RunEnd(RunState.failed_retry, ended.message, rule="sandbox_missing", cause="infrastructure")
    if ended.ended == "timeout":
        return Ran(ended.exit_status, output, "timeout")
    if ended.ended != "exited":
        return Ran(ended.exit_status, f"{output}\n{ended.ended}: {ended.message}", "not_started")
    return Ran(ended.exit_status, output)


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.partition(":")
    return name, int(port or HTTPS)


def _yarn_proxy(doors: Doors) -> dict[str, str]:
    """yarn 2 and later does not read the usual variables."""
    names = ("HTTP_PROXY", "HTTPS_PROXY")
    return {f"YARN_{name}": doors.env[name] for name in names if name in doors.env}
