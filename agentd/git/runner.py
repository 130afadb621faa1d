"""The one way git is run: fixed environment, no hooks, no foreign configuration, a time limit, no secret in argv."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agentd.errors import GitError

TIMEOUT_SECONDS = 600.0

ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_ALLOW_PROTOCOL": "https:http:file",
}
PASSED = (
    "PATH",
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"),
)
"""Taken from agentd's own environment: where programs are, and how the network is reached."""
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "credential.helper=",
    # The helper below would give the token to wherever the remote points to.
    "http.followRedirects=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.fsckObjects=true",
    # Harmless, and in the history of many an old repository, which nobody can mend any more.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    "protocol.version=2",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    "commit.gpgSign=false",
    "core.commitGraph=true",
    # One process alone waits for each file; on a disk where much was just deleted, for several times as long.
    "checkout.workers=2",
)
# The helper is asked for the token only when the server wants one, and reads it from an inherited descriptor.
_HELPER = (
    '!f() {{ test "$1" = get || exit 0; echo username=x-access-token; printf "password=%s\\n" "$(cat {path})"; }}; f'
)


@dataclass(frozen=True)
class Author:
    """Who agentd's commits are by."""

    name: str
    email: str

    def environment(self) -> dict[str, str]:
        return {
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.email,
        }


def command(*arguments: str, options: Sequence[str] = ()) -> list[str]:
    """git's whole command line, less the environment that it needs as well (ENVIRONMENT)."""
    return ["git", *(part for option in (*_OPTIONS, *options) for part in ("-c", option)), *arguments]


def complaint(name: str, exit_status: int, output: str, stderr: bytes) -> GitError:
    """The error of a git command that failed: its last lines, and all that it said for whoever looks closer."""
    said = stderr.decode(errors="replace").strip()
    last = "; ".join(line for line in said.splitlines()[-4:]) or output.strip()[-300:]
    return GitError(f"git {name} failed ({exit_status}): {last}", exit_status, said + output)


def complains(stderr: bytes, refuse: Sequence[str]) -> bool:
    """Whether git said any of the words, which it may do and still end with 0."""
    return any(words.encode() in stderr for words in refuse)


def git(
    *arguments: str,
    git_dir: Path | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | IO[bytes] | None = None,
    token: str = "",
    timeout_seconds: float = TIMEOUT_SECONDS,
    descriptors: tuple[int, ...] = (),
    accept: tuple[int, ...] = (0,),
    refuse: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """Run git and return what it printed, without the last line end.

    `stdin` is what git reads, or an open file of it; `token` reaches git over a file descriptor; `descriptors` are
    handed on to it; `options` are further `name=value` of its configuration. Raises GitError when the exit status is
    not in `accept`, on a time-out, when git is missing, and when it complains with words of `refuse` whatever its exit
    status.
    """
    with _credential(token) as (helper, credential):
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        env = {**ENVIRONMENT, "PATH": os.defpath, **passed, **(environment or {})}
        if git_dir is not None:
            env["GIT_DIR"] = str(git_dir)
        try:
            done = subprocess.run(
                command(*arguments, options=(*options, *helper)),
                cwd=cwd or git_dir,
                env=env,
                input=stdin if isinstance(stdin, bytes) else None,
                stdin=None if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
                capture_output=True,
                pass_fds=(*credential, *descriptors),
                timeout=timeout_seconds,
            )
        except FileNotFoundError as error:
            raise GitError(f"git cannot be run: {error}; install git 2.38 or later") from None
        except OSError as error:  # no descriptor or no memory is left
            raise GitError(f"git could not be started: {error}") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {arguments[0]} did not end within {timeout_seconds:.0f} s") from None
    output = done.stdout.decode(errors="surrogateescape")
    if done.returncode not in accept or complains(done.stderr, refuse):
        raise complaint(arguments[0], done.returncode, output, done.stderr)
    return output.removesuffix("\n")


@contextmanager
def _credential(token: str) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    if not token:
        yield (), ()
        return
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, token.encode())
        yield (f"credential.helper={_HELPER.format(path=f'/dev/fd/{descriptor}')}",), (descriptor,)
    finally:
        os.close(descriptor)
