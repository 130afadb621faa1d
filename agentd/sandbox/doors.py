"""The doors of a sandbox: how a program in a network of its own reaches exactly what it may.

Each door is a unix socket in one folder that is mounted read-only at /run/agentd. What listens there runs here, in the
supervisor's event loop: the proxy, a relay to each port that the run may reach, and the judge of tool calls. Inside,
inside.py makes ports of the sockets, and policy_hook.py asks the judge.
"""

from __future__ import annotations

import asyncio
import json
import os
import posixpath
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agentd.errors import ConfigurationError
from agentd.policy.allowlist import CommandRules
from agentd.policy.gates import ENDS_RUN, Gates, RunMeters, ToolCall, evaluate
from agentd.sandbox import inside, policy_hook
from agentd.sandbox.commands import CommandJudge
from agentd.sandbox.profile import HOME, WORKSPACE, Mount, is_within
from agentd.sandbox.proxy import Decision, Handle, Proxy, ProxyRules, Resolve, served, system_resolve, tunnel
from agentd.sandbox.tool_calls import asked

FOLDER = "/run/agentd"
PROXY_PORT = 3128
LOOPBACK = "127.0.0.1,localhost,::1"
FIRST_PORT = 1024
"""Below it a program without capabilities cannot listen, inside neither."""
CONNECTIONS = 128
"""of a run at the same time, to each door"""
QUESTIONS = 32
"""of a run to the judge at the same time; each may hold policy_hook.MAX_BYTES"""
QUESTION_SECONDS = 10.0
ENDING_SECONDS = 5.0
"""How long an answer that ends the run is kept back; shorter than hooks wait."""
SUBJECT_CHARACTERS = 4000
"""of a command in a Decision"""

WITHOUT_POLICY = Gates(version="", roots=(WORKSPACE, HOME, "/tmp"))
"""What tool calls are judged by where nobody says."""

Service = Callable[[Path], AbstractAsyncContextManager[object]]
"""Listens on the unix socket it is given, as long as it is open."""


@dataclass(frozen=True)
class Reach:
    """What of the outside a run may reach."""

    hosts: frozenset[tuple[str, int]] = frozenset()
    """names with their ports, through the proxy"""
    local: frozenset[int] = frozenset()
    """TCP ports of this host's loopback that appear at the same port inside: a model's endpoint; from FIRST_PORT on"""
    rules: CommandRules | None = None
    """what the hook judges shell commands by; None: as it likes"""
    gates: Gates | None = None
    """what the hook judges every tool call by; without it and `rules` there is no hook"""
    meters: Callable[[ToolCall], RunMeters] = field(default=lambda call: RunMeters())
    """what is known of the run when a tool is to be called"""
    leads_to: Callable[[str], str] = posixpath.normpath
    """where a path inside really leads"""
    scope: str = ""
    """what the hook's verdicts are about"""
    private: bool = False
    """lets `hosts` have private addresses: a registry mirror on the own network"""
    services: Mapping[int, Service] = field(default_factory=dict)
    """by the port at which each appears inside; from FIRST_PORT on, and none of `local`"""


@dataclass(frozen=True)
class Doors:
    """Open doors, to be put into a SandboxSpec and before the program."""

    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """what to start the program with; empty when there is nothing to listen to"""
    hook: tuple[str, ...] = ()
    """the program that judges tool calls, inside; empty without rules"""


@asynccontextmanager
async def open_doors(
    folder: Path, reach: Reach, decided: Callable[[Decision], None], resolve: Resolve = system_resolve
) -> AsyncIterator[Doors]:
    """The doors of one run, open inside the `with`.

    `folder` is the run's own for this: emptied first, since an earlier incarnation may have been killed, and removed
    at the end. `decided` is told every decision of the proxy and of the hook. Raises ConfigurationError, OSError.
    """
    low = [port for port in sorted(reach.local) if port < FIRST_PORT]
    if low:
        raise ConfigurationError(
            f"port {low[0]} cannot be reached from a sandbox: only ports from {FIRST_PORT} on can be opened inside; "
            "let the service listen on a higher one"
        )
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(_emptied(folder))
        listening = {port: f"local-{port}.sock" for port in sorted(reach.local)}
        env: dict[str, str] = {}
        for port, name in listening.items():
            await stack.enter_async_context(served(sockets / name, _relay_to(port), CONNECTIONS))
        for port, service in reach.services.items():
            listening[port] = f"service-{port}.sock"
            await stack.enter_async_context(service(sockets / listening[port]))
        if reach.hosts:
            proxy_port = next(port for port in range(PROXY_PORT, 1 << 16) if port not in listening)
            listening[proxy_port] = "proxy.sock"
            env = _proxy_environment(proxy_port)
            rules = ProxyRules(frozenset((host.lower(), port) for host, port in reach.hosts), private=reach.private)
            await stack.enter_async_context(Proxy(sockets / "proxy.sock", rules, decided, resolve))
        has_hook = reach.rules is not None or reach.gates is not None
        if has_hook:
            judge = await stack.enter_async_context(_Judge(reach, decided))
            await stack.enter_async_context(
                served(sockets / "policy.sock", judge.answer, QUESTIONS, policy_hook.MAX_BYTES)
            )
        yield _doors(folder, env, listening, hook=has_hook)


def python_inside() -> tuple[str, tuple[Mount, ...]]:
    """agentd's own Python as it exists inside: its program, and what to mount for it unless it is below /usr.

    Raises ConfigurationError when it cannot be told what to mount.
    """
    prefix = Path(sys.base_prefix).resolve()
    program = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not program.exists():
        raise ConfigurationError(f"agentd's Python is not at {program}, where a sandbox would start it; reinstall it")
    return str(program), () if is_within(str(prefix), "/usr") else (Mount(prefix, str(prefix)),)


def _doors(folder: Path, env: dict[str, str], listening: dict[int, str], hook: bool) -> Doors:
    if not listening and not hook:
        return Doors()
    program, mounts = python_inside()
    python = (program, "-I", "-S")
    listens = [part for port, name in listening.items() for part in ("--listen", f"{port}={name}")]
    return Doors(
        (Mount(folder, FOLDER), *mounts),
        env,
        (*python, f"{FOLDER}/inside.py", *listens, "--") if listening else (),
        (*python, f"{FOLDER}/policy_hook.py", f"{FOLDER}/policy.sock") if hook else (),
    )


def _proxy_environment(port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    both = {"HTTPS_PROXY": address, "HTTP_PROXY": address, "NO_PROXY": LOOPBACK}
    return both | {name.lower(): value for name, value in both.items()} | {"NODE_USE_ENV_PROXY": "1"}


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """The folder with the scripts and nothing else in it, by a path that is short enough for sockets (107 bytes)."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for script in (inside, policy_hook):
            shutil.copy(str(script.__file__), folder)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _relay_to(port: int) -> Handle:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tunnel((reader, writer), await asyncio.open_connection("127.0.0.1", port))

    return relay


class _Judge:
    """Answers the hook: one JSON object a connection, a line each way. An async context manager."""

    def __init__(self, reach: Reach, decided: Callable[[Decision], None]) -> None:
        self._reach = reach
        self._gates = reach.gates or WITHOUT_POLICY
        self._decided = decided
        self._commands = CommandJudge(reach.rules) if reach.rules is not None else None
        # One thread: the helper process hears one question at a time.
        self._thread = ThreadPoolExecutor(1, "agentd-policy")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decision = await self._judge(reader)
        self._decided(decision)
        if decision.ruling is not None and ENDS_RUN.get(decision.ruling.rule_id):
            # The run is being ended: an agent that waits for its answer does nothing more meanwhile.
            await asyncio.sleep(ENDING_SECONDS)
        answer = {"verdict": decision.verdict, "reason": decision.reason}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    async def _judge(self, reader: asyncio.StreamReader) -> Decision:
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                question = json.loads(await reader.readuntil(b"\n"))
            # Looks at files, as many as the question names.
            found = await asyncio.get_running_loop().run_in_executor(
                self._thread, asked, question, self._reach.leads_to
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return Decision("deny", "tool", "", f"the tool call cannot be read ({type(error).__name__})")
        except asyncio.LimitOverrunError:
            return Decision("deny", "tool", "", f"the tool call is longer than {policy_hook.MAX_BYTES} bytes")
        except TimeoutError:
            return Decision("deny", "tool", "", f"the tool call did not come within {QUESTION_SECONDS:g} s")
        subject = found.subject[:SUBJECT_CHARACTERS]
        verdict = evaluate(self._gates, found.call, self._reach.meters(found.call), self._reach.scope)
        if verdict is not None:
            return Decision("deny", "tool", subject, f"{verdict.observed}; {verdict.action}", verdict)
        if found.call.unreadable:
            return Decision("deny", "tool", subject, f"the tool call cannot be read ({found.call.unreadable})")
        if found.command is None:
            return Decision("allow", "tool", subject, "no gate of the policy objects")
        command = found.command[:SUBJECT_CHARACTERS]
        if self._commands is None:
            return Decision("allow", "command", command, "no gate of the policy objects, and commands have no policy")
        loop = asyncio.get_running_loop()
        judgement = await loop.run_in_executor(self._thread, self._commands.judge, found.command)
        return Decision(judgement.verdict, "command", command, judgement.reason)

    async def __aenter__(self) -> _Judge:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # A judgement under way ends first; it would start the helper again.
        self._thread.shutdown(cancel_futures=True)
        if self._commands is not None:
            self._commands.close()
