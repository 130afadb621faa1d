from __future__ import annotations

import os
import resource
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError
from agentd.sandbox.disk_scan import DiskScan
from agentd.sandbox.launch import start
from agentd.sandbox.probe import probe, problems
from agentd.sandbox.profile import Mount, SandboxSpec, arguments, checked, merged
from agentd.sandbox.seccomp import filter_bytes


def output_of(spec: SandboxSpec, *argv: str) -> str:
    with start(spec, list(argv)) as contained:
        said = contained.process.communicate(timeout=20)[0].decode()
    assert contained.process.returncode == 0, said
    return said


def test_the_sandbox_holds_on_this_host() -> None:
    assert probe().problems == ()


def test_it_starts_in_a_process_with_many_open_files(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert output_of(SandboxSpec(tmp_path), "echo", "here") == "here\n"
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


GOOD = (
    "NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nagentd-probe\n"
    "Iface\nagentd-probe\n"
    "/proc/1\n/proc/2\nagentd-probe\nagentd-probe\nPATH=/bin\0agentd-probe\nagentd-probe\n"
)


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs is 0"),
        ("Seccomp:\t2", "Seccomp:\t0", "Seccomp is 0"),
        ("CapEff:\t0000000000000000", "CapEff:\t00000000a80425fb", "CapEff is 00000000a80425fb"),
        ("Iface\n", "Iface\neth0\n", "route"),
        ("/proc/2\n", "/proc/2\n/proc/3\n/proc/4\n/proc/5\n", "other processes"),
        ("/proc/2\nagentd-probe\n", "/proc/2\nagentd-probe\nhome\n", "home folder"),
        ("PATH=/bin\0", "PATH=/bin\0GITHUB_TOKEN=x\0", "GITHUB_TOKEN"),
        ("\0agentd-probe\n", "\0agentd-probe\nwritable\n", "/proc/sys"),
        (GOOD, "bwrap: No permissions to create new namespace\n", "No permissions"),
    ],
)
def test_the_probe_says_what_does_not_hold(good: str, bad: str, said: str) -> None:
    assert problems(GOOD) == []
    found = problems(GOOD.replace(good, bad, 1))
    assert len(found) == 1 and said in found[0]


@pytest.mark.parametrize("name", ["with space", "with\nnewline", "ünïcödé-工", "-dash", "quote'\"$x`y"])
def test_any_name_of_a_workspace_works(tmp_path: Path, name: str) -> None:
    workspace = tmp_path / name
    workspace.mkdir()
    (workspace / "file").write_text("here")
    assert output_of(SandboxSpec(workspace), "cat", "file") == "here"


def test_a_workspace_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(ConfigurationError, match="no symlink"):
        checked(SandboxSpec(tmp_path / "link"))
    with pytest.raises(ConfigurationError, match="must be a folder"):
        checked(SandboxSpec(tmp_path / "missing"))


@pytest.mark.parametrize(
    "mounts",
    [
        (Mount(Path("/"), "/host"),),
        (Mount(Path.home(), "/opt/home"),),
        (Mount(Path("relative"), "/opt/x"),),
        (Mount(Path("/opt"), "/"),),
        (Mount(Path("/opt"), "/opt/../etc"),),
        (Mount(Path("/opt"), "/workspace/x"),),
        (Mount(Path("/opt"), "/home"),),
        (Mount(Path("/opt"), "/etc/ssl"),),
        (Mount(Path("/opt"), "/a"), Mount(Path("/opt"), "/a/b")),
        (Mount(Path("/opt"), "/a/b"), Mount(Path("/opt"), "/a")),
        (Mount(Path("/opt"), "/a"), Mount(Path("/opt"), "/a")),
    ],
)
def test_mounts_that_overlap_or_show_too_much_are_refused(tmp_path: Path, mounts: tuple[Mount, ...]) -> None:
    with pytest.raises(ConfigurationError):
        checked(SandboxSpec(tmp_path, mounts=mounts))


def test_links_are_made_unless_a_mount_shows_their_place(tmp_path: Path) -> None:
    for name in ("workspace", "tools"):
        (tmp_path / name).mkdir()
    (tmp_path / "tools" / "real").write_text("the tool")
    tools = tmp_path / "tools"
    links = [("/opt/names/tool", str(tools / "real")), ("/opt/again", "/opt/names/tool"), ("/usr/bin/nothing", "/gone")]
    spec = SandboxSpec(
        tmp_path / "workspace",
        mounts=(Mount(tools, str(tools)),),
        links=(*((target, place) for place, target in links), ("/gone", str(tools / "real")), ("/gone", "/usr/bin/sh")),
    )
    assert output_of(spec, "cat", "/opt/again") == "the tool"
    assert output_of(spec, "readlink", "/opt/names/tool").strip() == str(tools / "real")
    made, system = (arguments(each, 1000, 1000, 3, 4) for each in (spec, replace(spec, links=())))
    assert made.count("--symlink") == system.count("--symlink") + 2


@pytest.mark.parametrize(
    "link",
    [
        ("/opt/x", "relative"),
        ("/opt/x", "/"),
        ("/opt/x", "/opt/../etc/passwd"),
        ("/opt/x", "/etc/passwd"),
        ("/opt/x", "/workspace/x"),
        ("/opt/x", "/home/agent/x"),
        ("/opt/x", "/home"),
        ("/opt/x", "/proc"),
        ("/opt/x", "/tmp"),
        ("/opt/x", "/srv"),
        ("relative", "/opt/y"),
    ],
)
def test_links_that_hide_something_are_refused(tmp_path: Path, link: tuple[str, str]) -> None:
    spec = SandboxSpec(tmp_path, mounts=(Mount(Path("/opt"), "/srv/inner"),), links=(link,))
    with pytest.raises(ConfigurationError):
        checked(spec)


def test_two_links_at_one_place_are_refused_unless_they_are_one(tmp_path: Path) -> None:
    assert checked(SandboxSpec(tmp_path, links=(("/a", "/opt/x"), ("/a", "/opt/x"))))
    with pytest.raises(ConfigurationError, match="overlap"):
        checked(SandboxSpec(tmp_path, links=(("/a", "/opt/x"), ("/b", "/opt/x"))))


def test_merged_mounts_are_each_there_once() -> None:
    outer, inner, other = (Mount(Path(name), name) for name in ("/a", "/a/b", "/a-b"))
    moved, writable = Mount(Path("/c/b"), "/a/b"), Mount(Path("/a/w"), "/a/w", writable=True)
    assert merged((inner, other), (outer, inner)) == (other, outer)
    assert merged((outer,), (moved, writable)) == (outer, moved, writable)
    assert merged() == ()


def test_the_profile_is_a_pure_function_of_its_spec(tmp_path: Path) -> None:
    spec = SandboxSpec(tmp_path, env={"X": "a b"})
    first, second = arguments(spec, 1000, 1000, 3, 4), arguments(spec, 1000, 1000, 3, 4)
    assert first == second
    assert "a b" not in first, "a command line is everybody's to read"
    assert "--unshare-all" not in first and "--unshare-user" in first
    assert filter_bytes() == filter_bytes() and len(filter_bytes()) % 8 == 0


def test_nothing_but_the_spec_is_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "canary")
    seen = output_of(SandboxSpec(tmp_path, env={"CI": "1"}), "/usr/bin/env")
    names = {line.split("=")[0] for line in seen.splitlines()}
    assert names == {"PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME", "CI", "PWD"}


def test_a_setuid_file_and_a_deep_tree_do_no_harm(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o755 | stat.S_ISUID)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as bottom:
        bottom.write(b"x" * 3_000_000)
    os.close(here)
    assert (DiskScan([str(tmp_path)]).advance(10) or 0) > 3_000_000
    expected = str(os.getuid() or 1000)
    assert output_of(SandboxSpec(tmp_path), "./program", "-u").strip() == expected
    # Python's own removal of folders gives up on so many levels.
    assert output_of(SandboxSpec(tmp_path), "rm", "-rf", "d") == ""


def test_home_and_tmp_are_the_runs_own_and_sized(tmp_path: Path) -> None:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    spec = SandboxSpec(tmp_path / "workspace", home=tmp_path / "home", tmp_bytes=1024 * 1024)
    output_of(spec, "sh", "-c", "echo kept > ~/file; echo gone > /tmp/file; ! head -c 2000000 /dev/zero > /tmp/big")
    assert (tmp_path / "home" / "file").read_text() == "kept\n"
    assert output_of(spec, "sh", "-c", "ls /tmp; cat ~/file") == "kept\n"
