"""What git knows of a workspace made into a sandbox: for programs of the run, and for git itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from agentd.errors import ConfigurationError, GitError
from agentd.git.runner import complains, complaint
from agentd.git.workspace import View
from agentd.sandbox.launch import SandboxFailed, start
from agentd.sandbox.profile import Lower, Mount, SandboxSpec


def spec_of(view: View, home: Path | None = None, env: Mapping[str, str] | None = None) -> SandboxSpec:
    """A sandbox that shows the view's tree as the workspace, and nothing else of the host but what the tree needs."""
    lower = Lower(view.base, view.work) if view.base and view.work else None
    mounts = tuple(Mount(shown.source, shown.target, shown.writable, shown.over) for shown in view.shown)
    return SandboxSpec(view.files, home, mounts, view.links, env=env or {}, lower=lower)


def run_inside(
    view: View,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    stdout: Path | None = None,
    timeout_seconds: float,
    refuse: Sequence[str] = (),
) -> str:
    """One git in a sandbox of its own, to its end; see agentd.git.layouts.protocol.Inside. Raises GitError."""
    name = next((word for word in argv[1:] if not word.startswith("-") and "=" not in word), argv[0])
    try:
        with ExitStack() as stack:
            output = stack.enter_context(stdout.open("wb")) if stdout else subprocess.PIPE
            spec = spec_of(view, env=environment)
            begun = start(spec, list(argv), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE)
            # Left when the last process inside is gone, and its mounts with it: the next one mounts the tree again.
            contained = stack.enter_context(begun)
            out, complained = contained.process.communicate(stdin, timeout_seconds)
    except (ConfigurationError, SandboxFailed, OSError) as error:
        raise GitError(f"git {name} cannot be run in the sandbox: {error}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {name} did not end within {timeout_seconds:.0f} s") from None
    exit_status = contained.process.returncode
    printed = (out or b"").decode(errors="surrogateescape")
    if exit_status != 0 or complains(complained, refuse):
        raise complaint(name, exit_status, printed, complained)
    return printed.removesuffix("\n")
