"""Does the sandbox hold on this host? Asked by running it and looking from inside, since no setting can tell."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agentd.errors import AgentdError
from agentd.sandbox.launch import start
from agentd.sandbox.profile import SandboxSpec

_MARK = "agentd-probe"
_LOOK = f"""
cat /proc/self/status; echo {_MARK}; cat /proc/net/route; echo {_MARK}
for each in /proc/[0-9]*; do echo "$each"; done; echo {_MARK}
[ -e "$1" ] && echo home; echo {_MARK}
cat /proc/1/environ; echo {_MARK}
(: > /proc/sys/kernel/domainname) 2>/dev/null && echo writable; echo {_MARK}
"""
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Probe:
    """What was seen. Nothing may be dispatched with a problem."""

    problems: tuple[str, ...]
    remedy: str = ""

    @property
    def holds(self) -> bool:
        return not self.problems


def probe(home: Path | None = None) -> Probe:
    """Run the profile with an empty workspace and judge what is seen from inside. `home`: what must not be there."""
    with tempfile.TemporaryDirectory(prefix="agentd-probe-") as workspace:
        try:
            look = ["/bin/sh", "-c", _LOOK, "sh", str(home or Path.home())]
            with start(SandboxSpec(Path(workspace)), look) as contained:
                seen = contained.process.communicate(timeout=TIMEOUT_SECONDS)[0].decode(errors="replace")
        except (AgentdError, OSError, subprocess.SubprocessError) as error:
            return Probe((str(error),), remedy())
    found = tuple(problems(seen))
    return Probe(found, remedy() if seen.startswith("bwrap:") else "")


def problems(seen: str) -> list[str]:
    """What is wrong in the output of the look from inside; [] when the sandbox holds."""
    parts = seen.split(f"{_MARK}\n")
    if len(parts) != 7:
        return [f"the look from inside did not end: {seen[-200:]!r}"]
    status, routes, processes, home, environ, sysctl, _ = parts
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    found = []
    for name, expected in (("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0" * 16), ("CapBnd", "0" * 16)):
        if fields.get(name) != expected:
            found.append(f"{name} is {fields.get(name)} inside, expected {expected}")
    if len(routes.splitlines()) > 1:
        found.append("there is a network route inside")
    # bubblewrap's first process, the shell, and a `cat` or two.
    if len(processes.split()) > 4:
        found.append("other processes can be seen inside")
    if home:
        found.append("the home folder of agentd's user can be seen inside")
    names = {entry.split("=")[0] for entry in environ.split("\0") if "=" in entry}
    if foreign := names - {"PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME", "PWD"}:
        found.append(f"variables of agentd can be read inside: {', '.join(sorted(foreign))}")
    if sysctl:
        found.append("settings of the kernel can be written inside (/proc/sys)")
    return found


def remedy() -> str:
    """What a person can do where user namespaces are refused; names the setting that refuses them."""
    settings = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
            "1",
            "AppArmor refuses user namespaces: load a profile for bwrap with `userns,` in it, or set "
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        "/proc/sys/kernel/unprivileged_userns_clone": ("0", "set kernel.unprivileged_userns_clone=1"),
        "/proc/sys/user/max_user_namespaces": ("0", "set user.max_user_namespaces to 10000 or more"),
    }
    for path, (refusing, advice) in settings.items():
        if Path(path).is_file() and Path(path).read_text().strip() == refusing:
            return advice
    if Path("/.dockerenv").exists() or "container" in os.environ:
        return "in a container, allow user namespaces: its seccomp and AppArmor profiles refuse them"
    return "run `bwrap --unshare-user --ro-bind / / true` by hand to see what the host refuses"
