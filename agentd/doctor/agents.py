"""The agents: are their programs there, do they know what agentd asks of them, and do they start in the sandbox."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agentd.agents import adapter_of, executable_of
from agentd.agents.protocol import Found
from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import AgentdError, ConfigurationError
from agentd.model import Profile
from agentd.sandbox.installations import installation
from agentd.sandbox.launch import start
from agentd.sandbox.profile import Mount, SandboxSpec, merged
from agentd.sandbox.toolchains import find_tool_chains

SMOKE_SECONDS = 30.0
NEEDED = ("cd", "git", "pnpm", "node", "bash")
"""Commands without which an agent on a JavaScript repository can do little; what the original's doctor asks for."""
PROGRAMS = {
    "claude": "npm install -g @anthropic-ai/claude-code",
    "codex": "npm install -g @openai/codex",
    "codex-app-server": "npm install -g @openai/codex",
    "opencode": "npm install -g opencode-ai",
    "deepagents": "pip install deepagents-code",
}

INSTALLED = Code(
    "agents.installed",
    "Agent",
    "the program of a profile is not there, or does not know an option that agentd needs",
    "install it, or name another in the profile's `command`",
)
ALLOW_LIST = Code(
    "agents.allow_list",
    "DeepAgents shell allow list",
    "`all` is taken for the name of a command, `recommended` often lets an agent only read, and without cd, git, pnpm, "
    "node or bash it can do little",
    "name the commands, or leave it empty for the usual ones",
)
SMOKE = Code(
    "agents.smoke",
    "Smoke test",
    "with `--smoke`: an agent's program does not start in the sandbox within 30 seconds",
    "run its `--version` by hand",
)
CODES = (INSTALLED, ALLOW_LIST, SMOKE)


def checks(visit: Visit) -> Iterator[Finding]:
    """Each profile's program; the default one first, without which nothing starts."""
    settings = visit.settings
    default = settings.default_profile
    profiles = dict(settings.profiles) or {"build": settings.profile_named("build")}
    for name in sorted(profiles, key=lambda each: (each != default, each)):
        yield from _agent(visit, profiles[name], name == default)
    yield from _allow_list(visit)


def _agent(visit: Visit, profile: Profile, is_default: bool) -> Iterator[Finding]:
    try:
        found = adapter_of(profile).probe(executable_of(profile), visit.environ)
    except ConfigurationError as error:
        named = executable_of(profile)
        remedy = PROGRAMS.get(profile.adapter, "") if named is None else f"command -v {named}"
        say = INSTALLED.fail if is_default else INSTALLED.warn
        yield say(f"profile {profile.name!r}: {error}", remedy or "agentd config show", subject=profile.name)
        return
    yield INSTALLED.ok(f"profile {profile.name!r}: {found.path}", profile.name)
    if visit.smoke:
        yield _smoke(visit, profile, found)


def _smoke(visit: Visit, profile: Profile, found: Found) -> Finding:
    """`--version`, where runs are: in the sandbox, unless there is to be none."""
    argv = [str(found.path), "--version"]
    try:
        with tempfile.TemporaryDirectory(prefix="agentd-smoke-") as folder:
            exit_status, printed = _inside(visit, argv, found, Path(folder))
    except (AgentdError, OSError, subprocess.SubprocessError) as error:
        return SMOKE.warn(f"profile {profile.name!r}: {error}", f"{argv[0]} --version", subject=profile.name)
    line = (printed.strip().splitlines() or [""])[0]
    if exit_status != 0:
        said = f"profile {profile.name!r}: exit status {exit_status}: {line}"
        return SMOKE.warn(said, f"{argv[0]} --version", subject=profile.name)
    return SMOKE.ok(f"profile {profile.name!r}: {line}", profile.name)


def _inside(visit: Visit, argv: list[str], found: Found, folder: Path) -> tuple[int, str]:
    env = {"PATH": visit.environ.get("PATH", ""), "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb"}
    if visit.settings.sandbox == "none":
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=SMOKE_SECONDS)
        return done.returncode, done.stdout or done.stderr
    path = visit.environ.get("PATH", "")
    chains = find_tool_chains(path, Path.home())
    installed = installation(found.path, path)
    needs = tuple(Mount(place, str(place)) for place in found.needs)
    spec = SandboxSpec(
        folder,
        mounts=merged(chains.mounts, installed.mounts, needs),
        links=(*chains.links, *installed.links),
        path=":".join([chains.path, *installed.folders]),
    )
    with start(spec, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as contained:
        printed, _ = contained.process.communicate(timeout=SMOKE_SECONDS)
    return contained.process.returncode or 0, (printed or b"").decode(errors="replace")


def _allow_list(visit: Visit) -> Iterator[Finding]:
    settings = visit.settings
    words = [word.strip() for word in settings.deepagents_shell_allow_list.split(",") if word.strip()]
    if not words:
        return
    remedy = "unset DEEPAGENTS_SHELL_ALLOW_LIST"
    lacking = [name for name in NEEDED if name not in words]
    if words == ["all"]:
        yield ALLOW_LIST.warn("`all` is taken for the name of a command", remedy)
    elif "recommended" in words:
        yield ALLOW_LIST.warn("`recommended` often lets an agent only read", remedy)
    elif lacking:
        yield ALLOW_LIST.warn(f"lacks {', '.join(lacking)}", remedy)
    else:
        yield ALLOW_LIST.ok(", ".join(words))
