"""What a program in a real sandbox reaches through its doors, and what the hook answers."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentd.errors import ConfigurationError
from agentd.policy.allowlist import CommandRules
from agentd.sandbox import policy_hook
from agentd.sandbox.doors import WITHOUT_POLICY, Doors, Reach, open_doors, python_inside
from agentd.sandbox.launch import Contained, start
from agentd.sandbox.profile import SandboxSpec
from agentd.sandbox.proxy import Decision
from agentd.sandbox.tool_calls import MOST_PATH_BYTES, MOST_PATHS

PYTHON, PYTHON_MOUNTS = python_inside()
RULES = CommandRules(frozenset(["ls", "cat", "git"]))


@dataclass
class Rig:
    """A run's folders, and what its doors decided."""

    folder: Path
    told: list[Decision] = field(default_factory=list)

    def spec(self, doors: Doors) -> SandboxSpec:
        return SandboxSpec(self.folder / "workspace", mounts=doors.mounts or PYTHON_MOUNTS, env=doors.env)

    def start(self, doors: Doors, argv: list[str]) -> Contained:
        return start(self.spec(doors), [*doors.prefix, *argv])

    async def run(self, doors: Doors, argv: list[str]) -> tuple[int, str]:
        """Exit status and output."""

        def run() -> tuple[int, str]:
            with self.start(doors, argv) as contained:
                output = contained.process.communicate(timeout=30)[0].decode()
                return contained.process.returncode, output

        return await asyncio.to_thread(run)

    async def python(self, doors: Doors, code: str, *arguments: object) -> str:
        """What Python code printed inside."""
        status, output = await self.run(doors, [PYTHON, "-I", "-c", code, *map(str, arguments)])
        assert status == 0, output
        return output

    def doors(self, reach: Reach, resolve: Any = None) -> Any:
        return open_doors(self.folder / "doors", reach, self.told.append, resolve or loopback)


@pytest.fixture
def rig() -> Iterator[Rig]:
    # Short enough for a test to connect to a socket in it by its path.
    with tempfile.TemporaryDirectory(prefix="dr", dir="/tmp") as folder:
        (Path(folder) / "workspace").mkdir()
        yield Rig(Path(folder))


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def listening(answer: bytes | None = None) -> AsyncIterator[int]:
    """A server that says `answer` and ends, or says back what it hears; its port."""

    held = set()  # the event loop holds no task that waits

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(asyncio.current_task())
        if answer is not None:
            heard = len(await reader.read())
            writer.write(b"%s %d" % (answer, heard))
        else:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


TALK = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while data := connection.recv(1 << 16):
                said += data
            print("said", said.decode())
    except OSError as error:
        print(type(error).__name__, error.errno)
"""


async def test_a_port_that_is_let_in_is_reached_and_nothing_else_is(rig: Rig) -> None:
    async with listening(b"model") as model, listening(b"other") as other:
        places = [f"127.0.0.1:{model}", f"127.0.0.1:{other}", "192.0.2.1:80"]
        async with rig.doors(Reach(local=frozenset([model]))) as doors:
            said = (await rig.python(doors, TALK, *places)).splitlines()
        assert said == ["said model 5", "ConnectionRefusedError 111", "OSError 101"]
        async with rig.doors(Reach(local=frozenset([model, other]))) as doors:
            said = (await rig.python(doors, TALK, *places)).splitlines()
        assert said == ["said model 5", "said other 5", "OSError 101"]


async def test_a_port_where_nobody_listens_any_more_ends_the_connection(rig: Rig) -> None:
    async with listening() as gone:
        pass
    async with rig.doors(Reach(local=frozenset([gone]))) as doors:
        assert (await rig.python(doors, TALK, f"127.0.0.1:{gone}")).split()[0] in ("said", "ConnectionResetError")


TUNNEL = """
import http.client, os, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["https_proxy"])
for host in sys.argv[2:]:
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=30)
    connection.set_tunnel(host, int(sys.argv[1]))
    try:
        connection.connect()
        connection.sock.sendall(b"hello")
        print(connection.sock.recv(100).decode())
    except OSError as error:
        print(error)
"""


async def test_a_listed_host_is_reached_through_the_proxy_and_no_other(rig: Rig) -> None:
    async with listening() as port:
        reach = Reach(hosts=frozenset([("Registry.Example", port)]), private=True)
        async with rig.doors(reach) as doors:
            said = (await rig.python(doors, TUNNEL, port, "registry.example", "other.example")).splitlines()
            inside = (await rig.run(doors, ["env"]))[1].splitlines()
        async with rig.doors(replace(reach, private=False)) as doors:
            refused = await rig.python(doors, TUNNEL, port, "registry.example")
    assert said == ["hello", "Tunnel connection failed: 403 Forbidden"]
    assert refused.strip() == "Tunnel connection failed: 403 Forbidden"
    assert [(each.verdict, each.kind, each.subject) for each in rig.told] == [
        ("allow", "network", f"registry.example:{port}"),
        ("deny", "network", f"other.example:{port}"),
        ("deny", "network", f"registry.example:{port}"),
    ]
    assert {"HTTPS_PROXY=http://127.0.0.1:3128", "no_proxy=127.0.0.1,localhost,::1"} < set(inside)


async def test_a_model_may_be_at_the_proxys_usual_port(rig: Rig) -> None:
    async with rig.doors(Reach(hosts=frozenset([("a", 443)]), local=frozenset([3128]))) as doors:
        assert doors.env["HTTP_PROXY"] == "http://127.0.0.1:3129"
        assert {"3128=local-3128.sock", "3129=proxy.sock"} < set(doors.prefix)


MANY = """
import os, socket, sys, threading
def talk(at):
    sent = os.urandom(1 << 20)
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
    right[at] = said == sent
right = [False] * 20
threads = [threading.Thread(target=talk, args=(at,)) for at in range(20)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(sum(right))
"""


async def test_twenty_connections_at_a_time_carry_a_megabyte_each_way(rig: Rig) -> None:
    async with listening() as port, rig.doors(Reach(local=frozenset([port]))) as doors:
        assert await rig.python(doors, MANY, port) == "20\n"


LATE = """
import socket, sys
def asked(word):
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
    connection.sendall(word)
    connection.shutdown(socket.SHUT_WR)
    return connection
late = [asked(b"late") for _ in range(20)]
# So many that the memory of the carrier is swept in the meantime.
more = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) for _ in range(100)]
for connection in more:
    connection.sendall(b"now")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(10)
asked(b"go").recv(10)
print(sum(connection.recv(10) == b"late" for connection in late))
"""


async def test_an_answer_may_come_long_after_its_question(rig: Rig) -> None:
    go = asyncio.Event()
    held = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(asyncio.current_task())
        word = await reader.read()
        if word == b"go":
            go.set()
        elif word == b"late":
            await go.wait()
        writer.write(word)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with rig.doors(Reach(local=frozenset([port]))) as doors:
            assert await rig.python(doors, LATE, port) == "20\n"


async def test_without_anything_to_reach_nothing_is_put_in(rig: Rig) -> None:
    async with rig.doors(Reach()) as doors:
        assert doors == Doors()


ALONE = """
import os, signal
carriers = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
for pid in carriers:
    held = {os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")}
    print(sorted(held))
own = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
print(len(own), repr(open(f"/proc/self/task/{os.getpid()}/children").read()), os.getpid() == os.getsid(0))
"""


async def test_the_carrier_holds_nothing_of_the_program_nor_the_program_of_it(rig: Rig) -> None:
    async with listening() as port, rig.doors(Reach(local=frozenset([port]))) as doors:
        bare = (await rig.python(replace(doors, prefix=()), ALONE)).splitlines()
        carried = (await rig.python(doors, ALONE)).splitlines()
        signals = await rig.run(doors, ["grep", "SigIgn", "/proc/self/status"])
        bare_signals = await rig.run(replace(doors, prefix=()), ["grep", "SigIgn", "/proc/self/status"])
    # The one more is the listing's own.
    assert len(bare) == 1 and bare[0].startswith("1 ''")
    assert carried[0] == str(sorted(["/dev/null", "anon_inode", "socket"]))
    assert carried[1:] == bare
    assert signals == bare_signals


async def test_exit_status_and_signals_are_the_programs(rig: Rig) -> None:
    async with listening() as port, rig.doors(Reach(local=frozenset([port]))) as doors:
        assert await rig.run(doors, ["sh", "-c", "echo said; exit 7"]) == (7, "said\n")
        assert (await rig.run(doors, ["sh", "-c", "kill -TERM $$; sleep 9"]))[0] == 128 + signal.SIGTERM
        assert (await rig.run(doors, ["sh", "-c", "kill -PIPE $$; sleep 9"]))[0] == 128 + signal.SIGPIPE
        status, output = await rig.run(doors, ["no-such-program"])
        assert (status, output) == (127, "agentd: cannot start no-such-program: No such file or directory\n")


LAST_WORDS = """
import signal, sys
talk = sys.argv.pop(1)
def end(*_):
    exec(talk, {})
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    signal.pause()
"""


async def test_in_its_grace_the_program_still_has_its_doors(rig: Rig) -> None:
    async with listening(b"model") as port, rig.doors(Reach(local=frozenset([port]))) as doors:

        def run() -> tuple[int, bytes]:
            with rig.start(doors, [PYTHON, "-I", "-c", LAST_WORDS, TALK, f"127.0.0.1:{port}"]) as contained:
                assert contained.process.stdout is not None
                assert contained.process.stdout.readline() == b"ready\n"
                contained.end(grace_seconds=10)
                return contained.process.returncode, contained.process.stdout.read()

        assert await asyncio.to_thread(run) == (3, b"said model 5\n")


async def test_a_port_that_is_taken_is_said_and_nothing_is_started(rig: Rig) -> None:
    async with rig.doors(Reach(local=frozenset([5000]))) as doors:
        taken = replace(doors, prefix=(*doors.prefix[:-1], "--listen", "5000=other.sock", "--"))
        status, output = await rig.run(taken, ["echo", "started"])
    assert (status, output) == (126, "agentd: cannot listen on port 5000: Address already in use\n")


async def test_a_port_that_cannot_be_opened_inside_is_refused_before(rig: Rig) -> None:
    with pytest.raises(ConfigurationError, match=r"port 80 .* 1024"):
        async with rig.doors(Reach(local=frozenset([80]))):
            pass


async def test_a_folder_of_any_length_that_a_killed_predecessor_left_behind(rig: Rig) -> None:
    rig.folder = rig.folder / ("x" * 150)
    left = rig.folder / "doors"
    left.mkdir(parents=True)
    (rig.folder / "workspace").mkdir()
    async with listening(b"model") as port:
        reach = Reach(hosts=frozenset([("a", 443)]), local=frozenset([port]), rules=RULES)
        here = os.open(left, os.O_RDONLY)
        for name in ("proxy.sock", f"local-{port}.sock", "policy.sock"):
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(f"/proc/self/fd/{here}/{name}")
        os.close(here)
        (left / "more").mkdir(mode=0o755)
        async with rig.doors(reach) as doors:
            assert left.stat().st_mode & 0o777 == 0o700
            assert not (left / "more").exists()
            assert await rig.python(doors, TALK, f"127.0.0.1:{port}") == "said model 5\n"
        assert not left.exists()


async def test_python_that_is_not_below_usr_is_mounted_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = python_inside()[1]
    prefix = Path(sys.base_prefix).resolve()
    assert [mount.source for mount in mounts] == ([] if prefix.is_relative_to("/usr") else [prefix])
    monkeypatch.setattr(sys, "base_prefix", "/usr/lib/no-such")
    with pytest.raises(ConfigurationError, match="/usr/lib/no-such/bin/python3"):
        python_inside()


async def test_doors_that_close_end_their_connections_without_a_word(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as port:
        async with rig.doors(Reach(frozenset([("a", 443)]), frozenset([port]), RULES)):
            names = ("proxy.sock", f"local-{port}.sock", "policy.sock")
            streams = [await asyncio.open_unix_connection(rig.folder / "doors" / name) for name in names]
            for _, writer in streams:
                writer.write(b"x")
                await writer.drain()
            await asyncio.sleep(0.1)
        for reader, writer in streams:
            assert await asyncio.wait_for(reader.read(), 30) in (b"", b"x")
            writer.close()
    assert caplog.text == ""


def call(tool: str, cwd: str = "/workspace", **given: Any) -> dict[str, Any]:
    return {"session_id": "s", "cwd": cwd, "tool_name": tool, "tool_input": given}


PATCH = "*** Begin Patch\n*** Update File: a.py\n*** Move to: {}\n*** End Patch\n"

CALLS: list[tuple[dict[str, Any], str, str, str]] = [
    (call("Bash", command="ls && git status"), "allow", "command", "ls && git status"),
    (call("Bash", command="ls; curl http://x"), "deny", "command", "'curl' is not an allowed command"),
    (call("shell", command=["bash", "-lc", "ls | cat"]), "allow", "command", "ls | cat"),
    (call("shell", command=["/bin/bash", "-c", "curl x"]), "deny", "command", "curl x"),
    (call("shell", command=["/usr/bin/sh", "-c", "ls"]), "allow", "command", "ls"),
    (call("shell", command=["/workspace/evil/sh", "-c", "ls"]), "deny", "command", "/workspace/evil/sh -c ls"),
    (call("shell", command=["./bash", "-lc", "cat x"]), "deny", "command", "'./bash' is not an allowed command"),
    (call("shell", command=["ls", "a b"]), "allow", "command", "ls 'a b'"),
    (call("shell", command=["curl", "x"]), "deny", "command", "curl"),
    (call("exec_command", cmd="curl x"), "deny", "command", "curl"),
    (call("execute", command="curl x"), "deny", "command", "curl"),
    (call("run_shell_command", command="curl x"), "deny", "command", "curl"),
    (call("Bash", command="ls \u202e"), "deny", "command", "U+202E"),
    (call("Bash", command="ls \ud800"), "deny", "command", "U+D800"),
    (call("Bash", command=""), "deny", "command", "no command"),
    (call("Bash", command=[]), "deny", "tool", "cannot be read"),
    (call("Bash", command=["ls", 1]), "deny", "tool", "cannot be read"),
    (call("Bash", command=None), "deny", "tool", "cannot be read"),
    (call("Bash"), "deny", "tool", "cannot be read"),
    (call("Read", file_path="/etc/passwd"), "allow", "tool", "Read"),
    (call("Glob", pattern="*"), "allow", "tool", "Glob"),
    (call("Write", file_path="/workspace/a", content="x"), "allow", "tool", "Write /workspace/a"),
    (call("Write", file_path="a/b"), "allow", "tool", "Write /workspace/a/b"),
    (call("Write", file_path="/tmp/a"), "allow", "tool", "/tmp/a"),
    (call("Edit", file_path="/home/agent/a"), "allow", "tool", "/home/agent/a"),
    (call("Write", file_path="/etc/passwd"), "deny", "tool", "/etc/passwd is outside /workspace"),
    (call("Edit", file_path="/workspace/../etc/x"), "deny", "tool", "/etc/x"),
    (call("MultiEdit", file_path="/workspacex/a"), "deny", "tool", "/workspacex/a"),
    (call("NotebookEdit", notebook_path="/run/agentd/a"), "deny", "tool", "/run/agentd/a"),
    (call("Write", file_path="../a", cwd="/workspace/b"), "allow", "tool", "/workspace/a"),
    (call("Write", file_path="../a"), "deny", "tool", "/a is outside"),
    (call("Write", file_path=7), "deny", "tool", "cannot be read"),
    (call("apply_patch", input=PATCH.format("b.py")), "allow", "tool", "/workspace/a.py /workspace/b.py"),
    (call("apply_patch", command=["apply_patch", PATCH.format("/etc/b")]), "deny", "tool", "/etc/b"),
    (call("Write", file_path="a" * (MOST_PATH_BYTES - len("/workspace/"))), "allow", "tool", "/workspace/aaa"),
    (call("Write", file_path="a" * MOST_PATH_BYTES), "deny", "tool", "cannot be read"),
    (call("Read", file_path="a", cwd="/" + "é" * (MOST_PATH_BYTES // 2)), "deny", "tool", "cannot be read"),
    (call("apply_patch", input="*** Delete File: a\n" * MOST_PATHS), "allow", "tool", "/workspace/a"),
    (call("apply_patch", input="*** Delete File: a\n" * (MOST_PATHS + 1)), "deny", "tool", "cannot be read"),
    ({"tool_name": "Bash"}, "deny", "tool", "cannot be read"),
    ({"tool_name": ["Bash"], "tool_input": {}}, "deny", "tool", "cannot be read"),
    ({"tool_name": "Write", "tool_input": "/etc/x"}, "deny", "tool", "cannot be read"),
]


async def asked(folder: Path, question: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(folder / "doors" / "policy.sock")
    writer.write(question)
    said = await asyncio.wait_for(reader.readline(), 15)
    writer.close()
    answer: dict[str, Any] = json.loads(said)
    return answer


async def test_every_tool_call_has_its_judgement_and_it_is_told(rig: Rig) -> None:
    async with rig.doors(Reach(rules=RULES)):
        for question, verdict, kind, word in CALLS:
            answer = await asked(rig.folder, json.dumps(question).encode() + b"\n")
            decision = rig.told[-1]
            assert (answer["verdict"], decision.verdict, decision.kind) == (verdict, verdict, kind), question
            assert answer["reason"] == decision.reason
            assert word in f"{decision.subject}: {decision.reason}", question
    assert len(rig.told) == len(CALLS)
    helpers = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert not any("agentd.sandbox.command_helper" in line for line in helpers)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        (b"nonsense\n", "cannot be read"),
        (b"[]\n", "cannot be read"),
        (b"7\n", "cannot be read"),
        (b"[" * 100_000 + b"\n", "cannot be read"),
        (b"x" * (1 << 21), "longer than 1048576 bytes"),
    ],
)
async def test_what_is_no_question_is_refused(rig: Rig, question: bytes, word: str) -> None:
    async with rig.doors(Reach(rules=RULES)):
        answer = await asked(rig.folder, question)
    assert answer["verdict"] == "deny" and word in answer["reason"]
    assert [decision.verdict for decision in rig.told] == ["deny"]


async def test_questions_at_the_same_time_are_all_answered(rig: Rig) -> None:
    async with rig.doors(Reach(rules=RULES)):
        lines = [json.dumps(call("Bash", command=f"{name} {at}")).encode() for at in range(10) for name in ("ls", "no")]
        answers = await asyncio.gather(*(asked(rig.folder, line + b"\n") for line in lines))
    assert [answer["verdict"] for answer in answers] == ["allow", "deny"] * 10


async def test_whoever_looks_up_a_path_keeps_nobody_waiting(rig: Rig) -> None:
    begun, released = threading.Event(), threading.Event()

    def slow(path: str) -> str:
        begun.set()
        return path if released.wait(3) else "/late"

    async with rig.doors(Reach(gates=WITHOUT_POLICY, leads_to=slow)):
        asking = asyncio.create_task(asked(rig.folder, json.dumps(call("Write", file_path="a")).encode() + b"\n"))
        assert await asyncio.to_thread(begun.wait, 10)
        released.set()
        assert (await asking)["verdict"] == "allow"


async def test_the_hook_asks_from_inside(rig: Rig) -> None:
    async with rig.doors(Reach(rules=RULES)) as doors:
        assert doors.prefix == ()
        for command, denied in (("ls\ncat a", False), ("curl http://x", True)):
            text = shlex.quote(json.dumps(call("Bash", command=command)))
            status, output = await rig.run(doors, ["sh", "-c", f"printf %s {text} | {shlex.join(doors.hook)}"])
            assert status == 0
            assert bool(output) == denied
            if denied:
                said = json.loads(output)["hookSpecificOutput"]
                assert (said["hookEventName"], said["permissionDecision"]) == ("PreToolUse", "deny")
                assert "'curl' is not an allowed command" in said["permissionDecisionReason"]


def hooked(path: Path, question: bytes = b'{"tool_name": "Read"}', seconds: float = 5.0) -> str:
    """What the hook printed."""
    argv = [sys.executable, "-I", "-S", policy_hook.__file__, str(path), str(seconds)]
    done = subprocess.run(argv, input=question, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b'{"verdict": "allow", "reason": ""}\n', ""),
        (b'{"verdict": "deny", "reason": "so it is"}\n', "so it is"),
        (b'{"verdict": "maybe", "reason": ""}\n', "could not be asked"),
        (b'{"verdict": ["allow"]}\n', "could not be asked"),
        (b'["allow"]\n', "could not be asked"),
        (b"allow\n", "could not be asked"),
        (b"", "could not be asked"),
        (None, "took too long"),
    ],
)
def test_the_hook_refuses_whatever_is_no_permission(rig: Rig, answer: bytes | None, word: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(rig.folder / "s"))
        server.listen()

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(1 << 16)
                if answer is None:
                    connection.recv(1)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        said = hooked(rig.folder / "s", seconds=0.5 if answer is None else 5.0)
        thread.join()
    if word:
        assert word in json.loads(said)["hookSpecificOutput"]["permissionDecisionReason"]
    else:
        assert said == ""


@pytest.mark.parametrize("question", [b"", b"nonsense", b"[" * 100_000, b'{"a": "%s"}' % (b"x" * (1 << 20))])
async def test_the_hook_refuses_what_it_cannot_ask(rig: Rig, question: bytes) -> None:
    async with rig.doors(Reach(rules=RULES)):
        said = await asyncio.to_thread(hooked, rig.folder / "doors" / "policy.sock", question)
    assert json.loads(said)["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert rig.told == []


def test_the_hook_refuses_when_nobody_listens(rig: Rig) -> None:
    assert '"deny"' in hooked(rig.folder / "missing")
