"""What an agent can leave in its repository for the supervisor's own git to trip over (escapes 19 and 30 to 34)."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from agentd.sandbox.launch import command_line
from agentd.sandbox.profile import environment
from tests.sandbox.world import CANARY, GIT_ENV, World, git

EVIL = 'printf "#!/bin/sh\\ntouch %world%/ran-$(id -u -n)\\n" > /workspace/evil && chmod +x /workspace/evil\n'


def taken_back(world: World) -> subprocess.CompletedProcess[str]:
    """Fetch the run's branch into main: git's side that reads the agent's repository runs inside the sandbox."""
    with command_line(world.spec) as (command, fds):
        env = {"PATH": os.environ["PATH"], **GIT_ENV}
        clean = ["env", "-i", *(f"{name}={value}" for name, value in environment(world.spec).items())]
        upload_pack = shlex.join([*clean, *command, "--", "git-upload-pack", "--strict", "--timeout=60"])
        fetch = ["git", "-C", str(world.main), "-c", "fetch.fsckObjects=true", "-c", "core.hooksPath=/dev/null"]
        options = ["-q", "--no-tags", "--no-write-fetch-head", f"--upload-pack={upload_pack}"]
        refs = ["/workspace/.git", "+refs/heads/run:refs/agentd/run"]
        return subprocess.run([*fetch, "fetch", *options, *refs], env=env, pass_fds=fds, capture_output=True, text=True)


def host_fetch(world: World) -> subprocess.CompletedProcess[str]:
    """The same without the sandbox."""
    env = {"PATH": os.environ["PATH"], **GIT_ENV}
    refs = [str(world.workspace / ".git"), "+refs/heads/run:refs/agentd/run"]
    return subprocess.run(["git", "-C", str(world.main), "fetch", "-q", *refs], env=env, capture_output=True, text=True)


def ran(world: World) -> bool:
    return any(world.folder.glob("ran-*"))


def host_status(world: World) -> None:
    env = {"PATH": os.environ["PATH"], **GIT_ENV}
    subprocess.run(["git", "-C", str(world.workspace), "status"], env=env, capture_output=True)


PLANTED = {
    30: "git config core.fsmonitor /workspace/evil",
    31: "cp -r .git evilgit && rm -rf .git && echo 'gitdir: evilgit' > .git "
    "&& git --git-dir=evilgit config core.fsmonitor /workspace/evil",
    32: "cp -r .git evilgit && git --git-dir=evilgit config core.fsmonitor /workspace/evil "
    "&& echo ../evilgit > .git/commondir",
}


@pytest.mark.parametrize("number", PLANTED)
def test_planted_settings_run_only_where_git_runs_in_the_tree(world: World, number: int) -> None:
    # The host sees the workspace elsewhere than the agent does.
    script = (EVIL + PLANTED[number]).replace(
        "core.fsmonitor /workspace/evil", f"core.fsmonitor {world.workspace}/evil"
    )
    world.run(script)
    taken_back(world)
    assert not ran(world)
    host_status(world)
    assert ran(world)


def test_a_good_branch_comes_back(world: World) -> None:
    assert "done" in world.run("echo new > new.txt && git add . && git commit -qm new && echo done")
    done = taken_back(world)
    assert done.returncode == 0, done.stderr
    assert git(world.main, "show", "refs/agentd/run:new.txt") == "new"


def test_19_a_symlink_is_text_to_who_reads_objects(world: World) -> None:
    world.run("ln -s %home%/.ssh/id report.txt && git add . && git commit -qm report")
    assert taken_back(world).returncode == 0
    assert CANARY not in git(world.main, "show", "refs/agentd/run:report.txt")
    assert CANARY in (world.workspace / "report.txt").read_text(), "who reads the tree follows it"


def test_33_hooks_of_the_agent_do_not_run_when_its_branch_is_fetched(world: World) -> None:
    # git itself protects here: these settings count only in files of the user who fetches.
    hook = f"{world.workspace}/evil"
    world.run(EVIL + f"git config uploadpack.packObjectsHook {hook}; git commit -q --allow-empty -m x")
    assert taken_back(world).returncode == 0
    host_fetch(world)
    assert not ran(world)
    world.run("git commit -q --allow-empty -m y")
    env = {"PATH": os.environ["PATH"], **GIT_ENV, "GIT_CONFIG_GLOBAL": str(world.workspace / ".git" / "config")}
    refs = [str(world.workspace / ".git"), "+refs/heads/run:refs/agentd/again"]
    subprocess.run(["git", "-C", str(world.main), "fetch", "-q", *refs], env=env, capture_output=True)
    assert ran(world), "the same setting runs when the user's own file has it"


def test_34_objects_of_another_repository_do_not_come_back(world: World) -> None:
    private = git(world.folder / "private.git", "rev-parse", "private")
    git(world.main, "branch", "-D", "private")
    git(world.main, "-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
    alternates = world.workspace / ".git" / "objects" / "info" / "alternates"
    world.run(
        f"echo %private.git%/objects >> .git/objects/info/alternates; echo {private} > .git/refs/heads/run; git log -1"
    )
    assert "private.git" in alternates.read_text()
    assert taken_back(world).returncode != 0
    assert host_fetch(world).returncode == 0
    assert CANARY in git(world.main, "show", "refs/agentd/run:secret.txt"), (
        "git on the host reads what it is pointed to"
    )


def test_a_tree_with_a_git_folder_is_refused(world: World, tmp_path: Path) -> None:
    world.run(
        "blob=$(echo x | git hash-object -w --stdin); "
        'tree=$(printf "100644 blob $blob\\t.GIT\\n" | git mktree); '
        "git update-ref refs/heads/run $(git commit-tree -m x $tree)"
    )
    done = taken_back(world)
    assert done.returncode != 0 and "hasDotgit" in done.stderr
