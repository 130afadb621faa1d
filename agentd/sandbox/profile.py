"""The sandbox as data, and bubblewrap's command line for it: an empty root, and only what is named is in it.

Nothing is started or written; of the host it is only looked at which of /bin, /lib and so on are there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentd.errors import ConfigurationError

WORKSPACE = "/workspace"
HOME = "/home/agent"
BASE_PATH = "/usr/local/bin:/usr/bin:/bin"
USER_ID = 1000
"""Who the agent is inside, when agentd runs as root; else it is who agentd is."""

NAMESPACES = (
    # Each by name: `--unshare-all` tries the user namespace and goes on without one.
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    "--unshare-cgroup-try",
)
SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/alternatives",
    "/etc/java-17-openjdk",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/etc/localtime",
)
"""Read-only where they exist. Nothing else of /etc is there."""

PROVIDED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", *SYSTEM_FILES)
"""What every sandbox has of the host, at the same place."""

OWN_PLACES = (WORKSPACE, HOME, "/proc", "/dev", "/etc")
"""What is the sandbox's own; the rest of /etc is nobody's."""


@dataclass(frozen=True)
class Mount:
    """A host path that exists inside."""

    source: Path
    target: str
    writable: bool = False
    over: bool = False
    """may stand within an earlier one, and decides what is there"""


@dataclass(frozen=True)
class Lower:
    """What is seen below the workspace where it is the upper folder of an overlay."""

    base: Path
    """never written: what the program changes is copied into the workspace first"""
    work: Path
    """an empty folder on the workspace's file system, which the kernel needs"""


@dataclass(frozen=True)
class SandboxSpec:
    """Everything that is inside a sandbox, and nothing else is."""

    workspace: Path
    home: Path | None = None
    """a folder of this run alone; None is an empty one in memory"""
    mounts: tuple[Mount, ...] = ()
    """tool chains, object stores, the folder of the gateway's socket"""
    links: tuple[tuple[str, str], ...] = ()
    """symlinks: what each points to, and where it is; one within a mount is there already and is left out"""
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = BASE_PATH
    tmp_bytes: int = 256 * 1024 * 1024
    shm_bytes: int = 64 * 1024 * 1024
    usr: Path = Path("/usr")
    merged_usr: bool = True
    """/bin, /lib and so on are links into /usr"""
    lower: Lower | None = None
    """None where the workspace is the whole tree"""


def merged(*groups: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """The mounts of all groups in order, less those that another one shows already at the same place."""
    all_mounts = list(dict.fromkeys(mount for group in groups for mount in group))
    return tuple(
        mount for mount in all_mounts if not any(other != mount and _shows(other, mount) for other in all_mounts)
    )


def _shows(outer: Mount, inner: Mount) -> bool:
    if outer.writable != inner.writable or not is_within(inner.target, outer.target):
        return False
    return outer.source / posixpath.relpath(inner.target, outer.target) == inner.source


def is_within(path: str, folder: str) -> bool:
    """Whether a path is the folder or something in it, by name."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def checked(spec: SandboxSpec) -> SandboxSpec:
    """The spec, if it can hold. Raises ConfigurationError.

    A source that is a symlink would be followed by bubblewrap to wherever it points when the run starts; a target over
    another one would hide it, or show what was hidden, unless that is what it is for. Below /tmp, which is new and
    empty, a target hides nothing.
    """
    owned = [("workspace", spec.workspace), *([("home", spec.home)] if spec.home else [])]
    owned += [("base", spec.lower.base), ("work", spec.lower.work)] if spec.lower else []
    for name, folder in owned:
        if folder.is_symlink() or not folder.is_dir():
            raise ConfigurationError(f"sandbox: {name} {str(folder)!r} must be a folder and no symlink")
    for source in (*(folder for _, folder in owned), *(mount.source for mount in spec.mounts)):
        if not source.is_absolute() or source == Path("/") or source == Path.home():
            raise ConfigurationError(
                f"sandbox: {str(source)!r} may not be mounted: it is the root, a home, or relative"
            )
    seen: list[str] = [*OWN_PLACES, *PROVIDED]
    for at, mount in enumerate(spec.mounts):
        below = {other.target for other in spec.mounts[:at] if mount.over and is_within(mount.target, other.target)}
        _check_place(mount.target, "mounts", [place for place in seen if place not in below])
        seen.append(mount.target)
    for target, place in links_to_make(spec):
        if not target.startswith("/"):
            raise ConfigurationError(f"sandbox: the link at {place!r} points to {target!r}, which is no absolute path")
        _check_place(place, "link and mount", seen)
        seen.append(place)
    return spec


def _check_place(place: str, what: str, seen: list[str]) -> None:
    if posixpath.normpath(place) != place or not place.startswith("/") or place == "/":
        raise ConfigurationError(f"sandbox: the target {place!r} is no plain absolute path")
    if place == "/tmp":
        raise ConfigurationError(f"sandbox: the {what} at '/tmp' and '/tmp' overlap")
    for other in seen:
        if is_within(place, other) or is_within(other, place):
            raise ConfigurationError(f"sandbox: the {what} at {place!r} and {other!r} overlap")


def links_to_make(spec: SandboxSpec) -> list[tuple[str, str]]:
    """The links less those that a mount shows already, each once."""
    shown = [*PROVIDED, *(mount.target for mount in spec.mounts)]
    return [link for link in dict.fromkeys(spec.links) if not any(is_within(link[1], folder) for folder in shown)]


def environment(spec: SandboxSpec) -> dict[str, str]:
    """The whole environment inside, which bubblewrap is started with: /proc/1/environ inside shows that one."""
    base = {"PATH": spec.path, "HOME": HOME, "LANG": "C.UTF-8", "TMPDIR": "/tmp", "USER": "agent", "LOGNAME": "agent"}
    return base | dict(spec.env)


def arguments(spec: SandboxSpec, user_id: int, group_id: int, passwd_fd: int, seccomp_fd: int) -> list[str]:
    """bubblewrap's arguments up to and without the command."""
    args = [*NAMESPACES, "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "agent"]
    # The environment is bubblewrap's own, in which nothing else may be: a command line is everybody's to read.
    args += ["--uid", str(user_id), "--gid", str(group_id)]
    args += ["--ro-bind", str(spec.usr), "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if (Path("/") / name).exists():
            args += (
                ["--symlink", f"usr/{name}", f"/{name}"] if spec.merged_usr else ["--ro-bind", f"/{name}", f"/{name}"]
            )
    for file in (*SYSTEM_FILES, *sorted(map(str, Path("/etc").glob("java-*-openjdk")))):
        args += ["--ro-bind-try", file, file]
    args += ["--ro-bind-data", str(passwd_fd), "/etc/passwd"]
    # Without it root could write /proc/sys, capabilities or not: those files ask for the user id only.
    args += [
        "--proc",
        "/proc",
        "--remount-ro",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        str(spec.tmp_bytes),
        "--tmpfs",
        "/tmp",
    ]
    args += ["--size", str(spec.shm_bytes), "--tmpfs", "/dev/shm"]
    args += ["--bind", str(spec.home), HOME] if spec.home else ["--size", str(spec.tmp_bytes), "--tmpfs", HOME]
    for mount in spec.mounts:
        args += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    for target, place in links_to_make(spec):
        args += ["--symlink", target, place]
    args += [*_tree(spec), "--chdir", WORKSPACE]
    # The rest of the root is nobody's place to write.
    return [*args, "--remount-ro", "/", "--seccomp", str(seccomp_fd)]


def _tree(spec: SandboxSpec) -> list[str]:
    """The workspace, alone or over its base."""
    if spec.lower is None:
        return ["--bind", str(spec.workspace), WORKSPACE]
    over = ["--overlay", str(spec.workspace), str(spec.lower.work), WORKSPACE]
    return ["--overlay-src", str(spec.lower.base), *over]
