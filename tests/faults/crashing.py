"""agentd with a bomb in it: the process kills itself at the n-th boundary of a run.

A boundary is the moment before or after a durable step, a change of a run's state, a write to GitHub, a fetch or a
push, a program under the guardian. Run as a program it is a fork server, so that each try costs no imports: it reads
one JSON object a line, {"point", "trace", "folder", "environ"}, forks, and answers with the exit status. With
"wall_ahead" or "boot_ahead" the child's clocks are that many seconds ahead, and it waits a second where it would ten.
With "commands" the boundaries are before each command that agentd runs and that writes, and around a workspace's move
to another commit; with "clean" it is `agentd clean`; with "move_base" the base moves on between a run's two fetches.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from agentd.cli import clean as cli_clean
from agentd.cli import once as cli_once
from agentd.clock import SystemClock
from agentd.errors import AgentdError
from agentd.git import mirror, push, update
from agentd.github import client
from agentd.run import claim, desk, process, workflow
from agentd.run.stages import finish, start, sync
from agentd.store import attempts, runs
from agentd.supervisor.daemon import leave  # imported here so that the forked child need not

GIT_WRITES = {
    *("add", "clean", "clone", "checkout", "commit-tree", "fetch", "hash-object", "index-pack", "init", "maintenance"),
    *("mktree", "merge-tree", "pack-objects", "push", "read-tree", "unpack-objects", "update-index", "update-ref"),
    "write-tree",
}


class Bomb:
    """Counts boundaries, writes their names down, and kills the process at its own."""

    def __init__(self, point: int, trace: Path) -> None:
        self.point = point
        self.trace = trace
        self.count = 0

    def boundary(self, name: str) -> None:
        self.count += 1
        with self.trace.open("a") as file:
            file.write(f"{name}\n")
        if self.count == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a boundary before and one after it, whether it succeeds or not."""

        @functools.wraps(function)
        async def later(*args: Any, **kwargs: Any) -> Any:
            self.boundary(f"before {name(*args)}")
            try:
                return await function(*args, **kwargs)
            finally:
                self.boundary(f"after {name(*args)}")

        @functools.wraps(function)
        def now(*args: Any, **kwargs: Any) -> Any:
            self.boundary(f"before {name(*args)}")
            try:
                return function(*args, **kwargs)
            finally:
                self.boundary(f"after {name(*args)}")

        return later if inspect.iscoroutinefunction(function) else now


def arm(bomb: Bomb) -> None:
    """Put a boundary around everything that a crash may cut in two."""
    workflow._step = bomb.around(lambda name, *_: f"step {name}", workflow._step)
    push.compare_and_push = bomb.around(lambda _, ref, *__: f"push {ref.split('/')[1]}", push.compare_and_push)
    desk.guard = bomb.around(lambda program, *_: f"program {program.name}", process.guard)  # type: ignore[attr-defined]
    mirror.fetch = bomb.around(lambda *_: "fetch", mirror.fetch)
    runs.change_state = bomb.around(lambda _, __, state: f"state {state}", runs.change_state)
    claim.take = bomb.around(lambda *_: "claim", claim.take)
    start.prepare = bomb.around(lambda *_: "workspace", start.prepare)  # type: ignore[attr-defined]
    finish.save = bomb.around(lambda *_: "salvage", finish.save)  # type: ignore[attr-defined]
    send = client.GitHub._once

    def once(self: Any, request: str, read: bool, act: Callable[[], Any]) -> Any:
        if read:
            return send(self, request, read, act)
        return bomb.around(lambda *_: request.split("?")[0], send)(self, request, read, act)

    client.GitHub._once = once  # type: ignore[method-assign]


READERS = {
    *("cat-file", "diff-index", "diff-tree", "for-each-ref", "log", "ls-files", "ls-remote", "ls-tree", "merge-base"),
    *("patch-id", "rev-list", "rev-parse", "--version"),
}


def arm_commands(bomb: Bomb) -> None:
    """Put a boundary before each command of agentd's own that writes anything, git inside the sandbox included."""

    class Bombed(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, argv: list[str], *args: Any, **kwargs: Any) -> None:
            words = [
                word for word in argv if word in GIT_WRITES or word in READERS or word in {"rm", "git-upload-pack"}
            ]
            if words and not READERS.issuperset(words):
                bomb.boundary(next(word for word in words if word not in READERS))
            super().__init__(argv, *args, **kwargs)

    subprocess.Popen = Bombed  # type: ignore[misc]
    update.note_moved = bomb.around(lambda *_: "note of a move", update.note_moved)  # type: ignore[attr-defined]
    sync.advance = bomb.around(lambda *_: "move", sync.advance)  # type: ignore[attr-defined]


def move_base_before_fetch(number: int, act: Callable[[], None]) -> None:
    """Somebody else pushes to the base just before the n-th fetch."""
    fetch, count = mirror.fetch, [0]

    @functools.wraps(fetch)
    def moved(*args: Any, **kwargs: Any) -> str:
        count[0] += 1
        if count[0] == number:
            act()
        return fetch(*args, **kwargs)

    mirror.fetch = moved


def turn_clocks(wall_seconds: float, boot_seconds: float) -> None:
    """Let time have passed: on the clock at the wall, and on the one that leases are measured by."""
    now, boottime = SystemClock.now, SystemClock.boottime
    if wall_seconds or boot_seconds:
        SystemClock.now = lambda self: now(self) + timedelta(seconds=wall_seconds)  # type: ignore[method-assign]
        SystemClock.boottime = lambda self: boottime(self) + boot_seconds  # type: ignore[method-assign]
        attempts.BACKOFF_BASE_SECONDS = 1.0


def play(order: dict[str, Any]) -> None:
    """The child: one `agentd once` in the order's folder and environment."""
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    with Path(order["trace"] + ".out").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    turn_clocks(order.get("wall_ahead", 0.0), order.get("boot_ahead", 0.0))
    if order["point"] >= 0:
        bomb = Bomb(order["point"], Path(order["trace"]))
        (arm_commands if order.get("commands") else arm)(bomb)
    if order.get("move_base"):
        move_base_before_fetch(2, lambda: _push(order["move_base"]))
    if order.get("clean"):
        cli_clean.clean(as_json=True)
        leave(0)
    cli_once.once(as_json=True)


def _push(url: str) -> None:
    """Another file on the base, through GitHub's own door."""
    requests.put(
        f"{url}/contents/other-{os.getpid()}.txt",
        json={"message": "other", "content": "b3RoZXI=", "branch": "main"},
        headers={"Authorization": f"token {os.environ['EXECUTOR_BOT_TOKEN']}"},
        timeout=20,
    ).raise_for_status()


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                play(json.loads(line))
            except AgentdError as error:
                print(error, file=sys.stderr)
                os._exit(error.exit_code)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(99)
            os._exit(98)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
