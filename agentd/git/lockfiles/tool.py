"""Running a package manager, and what it means when that fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, Protocol

from agentd.git.lockfiles.manager import HOME, Manager
from agentd.git.lockfiles.provenance import Finding

LAST_LINES = 12
_NOT_REACHED = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|ERR_SOCKET|dns error|tunnel|Tunnel|403 Forbidden"
    r"|Could not resolve|Temporary failure in name resolution|error sending request|Failed to establish|Max retries"
)
_VERSION = re.compile(r"(?<!\d)\d{1,9}\.\d{1,9}\S{0,40}")


@dataclass(frozen=True)
class Ran:
    """How a program ended that a runner ran."""

    exit_status: int
    output: str
    """both streams, or the end of them"""
    ended: Literal["exited", "timeout", "not_installed", "not_started"] = "exited"


class Runner(Protocol):
    """Runs a package manager where it can do no harm."""

    @property
    def home(self) -> str:
        """The home that programs see, empty when the first one starts."""

    async def run(self, argv: Sequence[str], folder: str, env: Mapping[str, str], hosts: Sequence[str]) -> Ran:
        """Run a program in a folder of the tree, with these variables and these registries in reach.

        `argv` begins with the program's name, `folder` is relative to the tree.
        """


@dataclass(frozen=True)
class Refused:
    """Lockfiles that could not be regenerated; nothing was changed."""

    reason: str
    kind: Literal["disabled", "tool", "unreachable", "failed", "timeout", "touched", "provenance", "unreadable"]
    """`disabled`: the settings say so; `tool`: not installed, or of another version; `touched`: other files changed"""
    findings: tuple[Finding, ...] = ()


async def run(manager: Manager, path: str, runner: Runner, hosts: tuple[str, ...] = ()) -> Refused | None:
    """Regenerate one lockfile of the runner's tree; None when that went well."""
    wrong = await _wrong_tool(manager, runner)
    if wrong:
        return wrong
    ran = await _command(manager, manager.regenerate, path, runner, hosts)
    return None if ran.ended == "exited" and ran.exit_status == 0 else _refused(manager, manager.regenerate, path, ran)


async def check(manager: Manager, path: str, runner: Runner, hosts: tuple[str, ...] = ()) -> Ran | Refused:
    """Whether a lockfile fits its manifests: exit status 0. Refused when the tool cannot say."""
    wrong = await _wrong_tool(manager, runner)
    if wrong:
        return wrong
    ran = await _command(manager, manager.check, path, runner, hosts)
    return ran if ran.ended == "exited" else _refused(manager, manager.check, path, ran)


async def _wrong_tool(manager: Manager, runner: Runner) -> Refused | None:
    """Why the program on this host is not the one for the lockfile; yarn 1 and yarn 4 have the same name."""
    if not manager.version:
        return None
    argv = (manager.program, manager.version_flag)
    ran = await runner.run(argv, "", _filled(manager.env, runner.home), ())
    if ran.ended != "exited" or ran.exit_status:
        return _refused(manager, argv, "", ran)
    found = _VERSION.search(ran.output)
    if found and re.fullmatch(manager.version, found[0]):
        return None
    said = found[0] if found else ran.output.strip()[:80]
    return Refused(f"{manager.program} on PATH is {said}, and the lockfile is of {manager.name}", "tool")


async def _command(manager: Manager, argv: Sequence[str], path: str, runner: Runner, hosts: tuple[str, ...]) -> Ran:
    words = tuple(word.replace(HOME, runner.home) for word in argv)
    folder = str(PurePosixPath(path).parent)
    reached = (*manager.hosts, *hosts)
    return await runner.run(words, "" if folder == "." else folder, _filled(manager.env, runner.home), reached)


def _filled(env: Mapping[str, str], home: str) -> dict[str, str]:
    return {name: value.replace(HOME, home) for name, value in env.items()}


def _refused(manager: Manager, argv: Sequence[str], path: str, ran: Ran) -> Refused:
    command = f"`{' '.join(argv[:3])}`" + (f" for {path}" if path else "")
    said = "\n".join(ran.output.strip().splitlines()[-LAST_LINES:])
    if ran.ended == "not_installed":
        return Refused(f"{manager.program} is not installed: {ran.output}; install it where agentd runs", "tool")
    if ran.ended == "timeout":
        return Refused(f"{command} did not end in time (lockfiles.timeout_minutes):\n{said}", "timeout")
    if ran.ended == "not_started":
        return Refused(f"{command} could not be started: {said}", "failed")
    if _NOT_REACHED.search(ran.output):
        hosts = ", ".join(manager.hosts)
        return Refused(
            f"{command} did not reach its registry ({hosts}; others: lockfiles.hosts):\n{said}", "unreachable"
        )
    return Refused(f"{command} ended with {ran.exit_status}:\n{said}", "failed")
