"""Ways out of the sandbox that were tried on five layouts, each here with the protection that closes it taken away.

The numbers are those of the table in docs/security.md.
"""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentd.sandbox.launch import command_line
from agentd.sandbox.profile import environment
from tests.sandbox.world import (
    CANARY,
    ESCAPED,
    Edit,
    World,
    bound,
    own_clone,
    with_host_processes,
    without,
    without_filter,
)

Run = Callable[[World, tuple[Edit, ...]], str]
CONNECT = "%python% -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect({}sys.argv[1])' "
CLONE_NEWUSER = "import ctypes; assert ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0"


@dataclass(frozen=True)
class Escape:
    """A script that prints ESCAPED (or the canary) when it got out."""

    number: int
    name: str
    script: str
    removed: tuple[Edit, ...] = ()
    """what takes the protection away; () is no sandbox at all"""


def tried(command: str) -> str:
    return f"{command} 2>/dev/null && echo {ESCAPED}"


ESCAPES = [
    Escape(1, "read a private key", "cat %home%/.ssh/id", (bound("%home%", how="--ro-bind"),)),
    Escape(2, "read git's credentials", "cat %home%/.git-credentials", (bound("%home%", how="--ro-bind"),)),
    Escape(4, "read the environment of another process", "tr '\\0' '\\n' < /proc/%sleeper%/environ"),
    Escape(6, "write main's hooks", tried("echo x > %main%/hooks/pre-commit"), (bound("%main%"),)),
    Escape(7, "write main's configuration", tried("echo '[a]' >> %main%/config"), (bound("%main%"),)),
    Escape(8, "move another branch", tried("echo x > %main%/refs/heads/other"), (bound("%main%"),)),
    Escape(9, "write into a peer's tree", tried("echo x > %peer%/tree/a.txt"), (bound("%peer%"),)),
    Escape(10, "move a peer's HEAD", tried("echo x > %main%/worktrees/tree/HEAD"), (bound("%main%"),)),
    Escape(12, "delete an object of main", tried("rm -rf %main%/objects/[0-9a-f]*"), (bound("%main%"),)),
    Escape(13, "write main's HEAD", tried("echo x > %main%/HEAD"), (bound("%main%"),)),
    Escape(14, "use a socket of a service", tried(CONNECT.format("") + "%run%/docker.sock"), (bound("%run%"),)),
    Escape(15, "use an abstract socket", tried(CONNECT.format("chr(0)+") + "%abstract%"), (without("--unshare-net"),)),
    Escape(
        16,
        "reach a port of the host",
        tried("%python% -c \"import socket; socket.create_connection(('127.0.0.1', %port%), 2)\""),
        (without("--unshare-net"),),
    ),
    Escape(17, "write outside by an absolute path", tried("echo x > %outside%"), (bound("%world%"),)),
    Escape(18, "write outside by a symlink", tried("ln -sfn %outside% link && echo x > link"), (bound("%world%"),)),
    Escape(21, "make a user namespace inside", tried(f'%python% -c "{CLONE_NEWUSER}"'), (without_filter,)),
    Escape(
        22,
        "make a read-only mount writable",
        tried("(mount -o remount,rw,bind %main%/objects; echo x > %main%/objects/x)"),
        (bound("%main%"),),
    ),
    Escape(23, "reach the host through /proc/PID/root", "cat /proc/%sleeper%/root%home%/.ssh/id"),
    Escape(25, "gain rights by a setuid program", tried("grep -q 'NoNewPrivs:.0' /proc/self/status")),
    Escape(
        27,
        "see processes of the host",
        tried("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q '[s]leep 98765'"),
        (with_host_processes,),
    ),
    Escape(28, "reach sysfs and cgroups", tried("ls /sys/fs"), (bound("/sys", how="--ro-bind"),)),
]


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: f"{escape.number:02}-{escape.name.replace(' ', '-')}")
def test_the_way_out_is_closed_and_open_without_its_protection(world: World, escape: Escape) -> None:
    inside = world.run(escape.script)
    assert ESCAPED not in inside and CANARY not in inside
    without_it = world.run(escape.script, *escape.removed) if escape.removed else world.run_bare(escape.script)
    assert ESCAPED in without_it or CANARY in without_it, without_it


def test_03_the_environment_of_the_first_process_has_no_secret(world: World) -> None:
    assert CANARY not in world.run("cat /proc/1/environ")
    assert CANARY in world.run("cat /proc/1/environ", dirty=True), "what bubblewrap is started with is there"


def test_05_a_process_of_the_host_is_not_killed(world: World) -> None:
    def alive() -> bool:
        return ") Z " not in Path(f"/proc/{world.sleeper}/stat").read_text()

    world.run("kill -9 %sleeper%")
    assert alive()
    world.run("kill -9 %sleeper%", with_host_processes)
    time.sleep(0.1)
    assert not alive()


def test_11_other_branches_are_unreadable_only_with_objects_of_ones_own(world: World) -> None:
    commit = (world.main / "packed-refs").read_text().split(" refs/heads/private")[0].split()[-1]
    script = f"git -c safe.directory=* cat-file -p {commit}:secret.txt"
    assert CANARY not in world.run(script, spec=own_clone(world))
    assert CANARY in world.run(script), "a shared clone shows every object of the repository"


def test_20_no_open_descriptor_is_inherited(world: World) -> None:
    folder = os.open(world.home, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        script = f"cat /proc/self/fd/{folder}/.ssh/id"
        assert CANARY not in world.run(script)
        assert CANARY in world.run(script, fd=folder)
    finally:
        os.close(folder)


def test_24_nothing_outlives_the_run(world: World) -> None:
    def survivors() -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                found += [int(folder.name)] if b"97531" in (folder / "cmdline").read_bytes() else []
            except OSError:
                continue
        return found

    script = "(setsid sleep 97531 >/dev/null 2>&1 &) & sleep 0.2; echo started"
    assert "started" in world.run(script)
    assert survivors() == []
    world.run(script, with_host_processes)
    left = survivors()
    for pid in left:
        os.kill(pid, 9)
    assert left


def test_26_the_terminal_of_the_supervisor_is_out_of_reach(world: World) -> None:
    def with_terminal(*edits: Edit) -> str:
        ours, theirs = pty.openpty()

        def in_terminal(command: list[str], world: World) -> list[str]:
            return ["setsid", "--ctty", "--wait", *command]

        try:
            with command_line(world.spec) as (command, fds):
                for edit in (*edits, in_terminal):
                    command = edit(command, world)
                script = [*command, "--", "/bin/sh", "-c", tried("(: < /dev/tty)")]
                env = environment(world.spec)
                done = subprocess.run(script, stdin=theirs, capture_output=True, env=env, pass_fds=fds, timeout=20)
                return done.stdout.decode()
        finally:
            os.close(ours)
            os.close(theirs)

    assert ESCAPED not in with_terminal()
    assert ESCAPED in with_terminal(without("--new-session"))


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user cannot write them anyway")
def test_29_settings_of_the_kernel_cannot_be_written_by_root(world: World) -> None:
    setting = "/proc/sys/vm/overcommit_ratio"
    script = tried(f"cat {setting} > {setting}")
    assert ESCAPED not in world.run(script)
    assert ESCAPED in world.run(script, without("--remount-ro", "/proc"))
