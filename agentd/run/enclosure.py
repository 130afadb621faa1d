"""Where the programs of a run run: in a sandbox, or on the host itself where the settings say `sandbox = "none"`."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agentd import model
from agentd.agents.environment import LOOPBACK
from agentd.config import Settings
from agentd.errors import ConfigurationError
from agentd.git.collect import Reader
from agentd.git.workspace import Workspace, view
from agentd.model import Profile, Verdict
from agentd.policy.allowlist import CommandRules, parse_allow_list
from agentd.run.desk import Desk
from agentd.run.model_access import PORT, ModelDoor, model_door
from agentd.run.process import RUN_VARIABLE, Program
from agentd.run.telemetry import PORT as TELEMETRY_PORT
from agentd.run.telemetry import TelemetryDoor
from agentd.run.views import run_inside, spec_of
from agentd.sandbox.doors import Doors, Reach, open_doors
from agentd.sandbox.installations import installation
from agentd.sandbox.launch import command_line, prepared
from agentd.sandbox.limits import Limits, kernel_limits
from agentd.sandbox.paths import leads_to, shown_by
from agentd.sandbox.profile import HOME, PROVIDED, WORKSPACE, Mount, SandboxSpec, environment, is_within, merged
from agentd.sandbox.proxy import Decision
from agentd.sandbox.toolchains import find_tool_chains

if TYPE_CHECKING:
    from agentd.run.notices import Notices

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
HTTPS = 443
NOT_INSIDE = frozenset(["TMPDIR", "USER", "LOGNAME"])
"""Variables that the sandbox sets itself."""
MODELS = {
    "claude": {"ANTHROPIC_BASE_URL": "api.anthropic.com"},
    "builtin": {"ANTHROPIC_BASE_URL": "api.anthropic.com", "OPENAI_BASE_URL": "api.openai.com"},
    "codex": {"OPENAI_BASE_URL": "api.openai.com"},
    "codex-app-server": {"OPENAI_BASE_URL": "api.openai.com"},
    "opencode": {"OPENAI_BASE_URL": "api.openai.com"},
    "deepagents": {
        "ANTHROPIC_BASE_URL": "api.anthropic.com",
        "OPENAI_BASE_URL": "api.openai.com",
        "GOOGLE_BASE_URL": "generativelanguage.googleapis.com",
    },
}
"""Where each adapter's agent finds its model without the gateway: the variable that says so, and the host when it says
nothing."""
ADDRESSES = ("_BASE_URL", "_API_BASE")
"""Ends of the names of variables in a profile that say where a model is."""
RULE = {"network": "url_allowlist", "command": "command_policy", "tool": "tool_call"}
"""Rule of a decision that no gate made, by its kind."""
MOST_TOLD = 200
"""Decisions of one program that become Events; one more says that there were others."""


@dataclass(frozen=True)
class Enclosure:
    """What programs of one run see."""

    workspace: Path
    home: Path
    environ: dict[str, str]
    """agentd's own environment, with what differs inside; the adapters choose from it by name"""
    place: Workspace
    host_home: Path
    limits: Limits
    spec: SandboxSpec | None = None
    """None on the host itself"""
    doors: Doors = field(default_factory=Doors)
    door: ModelDoor | None = None
    """the way to the gateway; None for what speaks to no model, or does so directly"""
    telemetry: str = ""
    """where the agent may send spans of its own; empty for nowhere"""

    def write(self, path: Path, text: str) -> None:
        """Write a file in the home, given as it is seen inside, readable by the owner only.

        An earlier turn of the agent may have put a symlink in its way, which nothing here follows. Raises
        ConfigurationError when something is in the way.
        """
        try:
            self._write(path, text)
        except OSError as error:
            raise ConfigurationError(f"{path}: the agent's home cannot be written: {error}") from None

    def _write(self, path: Path, text: str) -> None:
        *folders, name = path.relative_to(self.home).parts
        descriptors = [os.open(self.host_home, FOLDER)]
        try:
            for folder in folders:
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=descriptors[-1])
                descriptors.append(os.open(folder, FOLDER, dir_fd=descriptors[-1]))
            new = f".{name}.new"
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=descriptors[-1])
            with os.fdopen(os.open(new, NEW_FILE, 0o600, dir_fd=descriptors[-1]), "w") as file:
                file.write(text)
            os.rename(new, name, src_dir_fd=descriptors[-1], dst_dir_fd=descriptors[-1])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def contain(self, program: Program, folder: Path) -> Program:
        """The program, started inside. `folder` gets what bubblewrap reads. Raises ConfigurationError."""
        if self.spec is None:
            return replace(program, cwd=self.place.path)
        env = {**self.spec.env, **program.env, **self.doors.env, RUN_VARIABLE: folder.name}
        made = prepared(replace(self.spec, env=env), folder)
        return replace(
            program,
            argv=(*made.argv, *kernel_limits(self.limits), *self.doors.prefix, *program.argv),
            env=made.env,
            cwd=Path("/"),
            inputs=made.inputs,
            limits=self.limits.sampled(),
            folders=(self.place.files, self.host_home),
        )


@asynccontextmanager
async def enclosed(
    desk: Desk,
    place: Workspace,
    home: Path,
    *,
    programs: Sequence[Path] = (),
    needs: Sequence[Path] = (),
    agent: Notices | None = None,
) -> AsyncIterator[Enclosure]:
    """The run's enclosure for one program, with the doors open that its profile asks for.

    `programs` are absolute, and there with their installations, and so is what of the host they `needs`. Only an agent
    speaks to a model: `agent` is told what the gateway decides meanwhile. Raises ConfigurationError.
    """
    context, profile = desk.context, desk.profile
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    limits = limits_of(context.settings)
    door = model_door(desk, agent) if agent is not None else None
    telling = TelemetryDoor(desk) if agent is not None and profile.telemetry else None
    async with AsyncExitStack() as stack:
        if not desk.is_sandboxed:
            if door is not None:
                await stack.enter_async_context(door.opened())
            if telling is not None:
                await stack.enter_async_context(telling.opened())
            told = telling.endpoint if telling is not None else ""
            yield Enclosure(place.path, home, dict(context.environ), place, home, limits, door=door, telemetry=told)
            return
        spec = _spec(desk, place, home, programs, needs)
        environ = {name: value for name, value in context.environ.items() if name not in NOT_INSIDE}
        reach = reach_of(profile, environ, agent=agent is not None, metered=door is not None)
        if agent is not None and (reach.rules is not None or _is_judged(desk)):
            meters = agent.meters
            leads = partial(leads_to, shown=shown_by(spec))
            reach = replace(reach, gates=meters.gates, meters=meters, leads_to=leads, scope=meters.scope)
        if door is not None:
            reach = replace(reach, services={PORT: door.opened})
        if telling is not None:
            reach = replace(reach, services={**reach.services, TELEMETRY_PORT: telling.opened})
        teller = Teller(desk, agent.is_news if agent is not None else None)
        doors = await stack.enter_async_context(open_doors(desk.run_dir / f"doors-{home.name}", reach, teller))
        spec = replace(spec, mounts=merged(spec.mounts, doors.mounts))
        inside = {**environ, "PATH": spec.path}
        told = telling.endpoint if telling is not None else ""
        yield Enclosure(Path(WORKSPACE), Path(HOME), inside, place, home, limits, spec, doors, door, told)


def _is_judged(desk: Desk) -> bool:
    """Whether all tool calls are judged, though no commands are: the built-in agent's, and where there is a policy."""
    return desk.profile.adapter == "builtin" or desk.context.settings.policy is not None


def limits_of(settings: Settings) -> Limits:
    """What a program of a run may use."""
    return Limits(
        memory_bytes=settings.max_memory_mib << 20,
        disk_bytes=settings.max_disk_mib << 20,
        processes=settings.max_processes,
        cpu_seconds=settings.max_cpu_minutes * 60 or None,
    )


@contextmanager
def reading(desk: Desk, place: Workspace) -> Iterator[Reader]:
    """How git reads the repository that the agent could write: from within the sandbox, where there is one."""
    if not desk.is_sandboxed:
        yield Reader(str(place.path / ".git"))
        return
    spec = spec_of(view(desk.context.mirror, place))
    with command_line(spec) as (command, descriptors):
        clean = ["env", "-i", *(f"{name}={value}" for name, value in environment(spec).items())]
        upload_pack = shlex.join([*clean, *command, "--", "git-upload-pack", "--strict", "--timeout=60"])
        yield Reader(f"{WORKSPACE}/.git", upload_pack, tuple(descriptors), run_inside)


def programs_in(command: str) -> list[Path]:
    """The programs that a shell command names by their whole paths."""
    words = [Path(word.strip("'\"();&|")) for word in command.split()]
    return [path for path in words if path.is_absolute() and path.is_file() and os.access(path, os.X_OK)]


def _spec(desk: Desk, place: Workspace, home: Path, programs: Sequence[Path], needs: Sequence[Path]) -> SandboxSpec:
    """Everything inside: the workspace, the objects it is made of, tool chains, the agent, what the profile names."""
    context, profile = desk.context, desk.profile
    path = context.environ.get("PATH", os.defpath)
    chains = find_tool_chains(path, Path.home())
    installed = [installation(program, path) for program in programs]
    folders = dict.fromkeys(folder for each in installed for folder in each.folders)
    tree = spec_of(view(context.mirror, place), home)
    return replace(
        tree,
        mounts=merged(
            tree.mounts,
            chains.mounts,
            *(each.mounts for each in installed),
            tuple(Mount(path, str(path)) for path in needs if not any(is_within(str(path), each) for each in PROVIDED)),
            _named(profile),
        ),
        links=(*tree.links, *chains.links, *(link for each in installed for link in each.links)),
        # Last: the folder of an agent that was installed for Python has a python3 as well.
        path=":".join([chains.path, *folders]),
    )


def _named(profile: Profile) -> tuple[Mount, ...]:
    """What the profile mounts, and files that its command names."""
    mounts = []
    for name in profile.mounts:
        path = Path(name).expanduser()
        if not path.is_absolute() or not path.exists():
            raise ConfigurationError(f"profile {profile.name!r}: the mount {name!r} is no absolute path that exists")
        mounts.append(Mount(path.resolve(), str(path)))
    files = [Path(word) for word in profile.command[1:] if word.startswith("/")]
    return (*mounts, *(Mount(path.resolve(), str(path)) for path in files if path.is_file()))


def reach_of(profile: Profile, environ: dict[str, str], *, agent: bool, metered: bool = False) -> Reach:
    """The hosts that the profile lists, and for an agent its model and the judge of its commands.

    A `metered` agent has its model behind the gateway, and reaches none by itself.
    """
    hosts = frozenset(_host(profile, name) for name in profile.hosts)
    if not agent:
        return Reach(hosts)
    rules = CommandRules(parse_allow_list(",".join(profile.shell_allow))) if profile.shell_allow else None
    if metered:
        return Reach(hosts, rules=rules)
    models = MODELS.get(profile.adapter, {})
    named = {name: environ.get(name, "") for name in (*models, *profile.pass_env)} | profile.env
    local: set[int] = set()
    remote: set[tuple[str, int]] = set()
    for name, value in named.items():
        if value and (name in models or name.endswith(ADDRESSES)):
            host, port, is_local = _address(profile, name, value)
            if is_local:
                local.add(port)
            else:
                remote.add((host, port))
        elif name in models:
            remote.add((models[name], HTTPS))
    return Reach(hosts | remote, frozenset(local), rules)


def _address(profile: Profile, name: str, value: str) -> tuple[str, int, bool]:
    """(host, port, whether it is this host's loopback) of a model's address. Raises ConfigurationError."""
    try:
        address = urlsplit(value)
        port = address.port or (HTTPS if address.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigurationError(f"profile {profile.name!r}: {name} is {value}: {error}") from None
    is_local = address.hostname in LOOPBACK.split(",")
    if not address.hostname or not (is_local or address.scheme == "https"):
        raise ConfigurationError(
            f"profile {profile.name!r}: {name} is {value}; out of the sandbox leads only https, or http to "
            "this host's loopback"
        )
    return address.hostname, port, is_local


def _host(profile: Profile, name: str) -> tuple[str, int]:
    host, _, port = name.partition(":")
    if not host or (port and not port.isdigit()):
        raise ConfigurationError(f"profile {profile.name!r}: the host {name!r} is not of the form name or name:port")
    return host, int(port or HTTPS)


class Teller:
    """Makes Events of decisions: of every refusal and every connection, each once, and not without end."""

    def __init__(self, desk: Desk, is_news: Callable[[Verdict], bool] | None = None) -> None:
        self._desk = desk
        self._is_news = is_news
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, decision: Decision) -> None:
        if decision.ruling is not None and self._is_news is not None and not self._is_news(decision.ruling):
            return
        key = (decision.kind, decision.subject[:500], decision.reason[:500])
        # Commands that are allowed are the agent's own story.
        if key in self._told or (decision.verdict == "allow" and decision.kind != "network"):
            return
        if len(self._told) > MOST_TOLD:
            return
        self._told.add(key)
        verdict = self._verdict(decision)
        if len(self._told) > MOST_TOLD:
            verdict = verdict.model_copy(update={"observed": f"more than {MOST_TOLD} decisions", "evidence": ()})
        self._desk.decided(verdict)

    def _verdict(self, decision: Decision) -> Verdict:
        subject = (decision.subject,) if decision.subject else ()
        if (ruling := decision.ruling) is not None:
            return ruling.model_copy(update={"evidence": (*subject, *ruling.evidence)})
        return Verdict(
            control=decision.kind,
            rule_id=RULE[decision.kind],
            decision=model.Decision(decision.verdict),
            scope=f"run:{self._desk.run.run_id}",
            observed=decision.reason,
            evidence=subject,
        )
