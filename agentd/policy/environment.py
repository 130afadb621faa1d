"""Which variables a command may set."""

from __future__ import annotations

import re

from agentd.policy.script import Assignment, Refused

_SAFE = frozenset(["NODE_ENV", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "GIT_TERMINAL_PROMPT"])

_STEERING = re.compile(
    r"""(LD|DYLD|GIT|NODE|NPM|PNPM|COREPACK|YARN|BUN|DENO|PYTHON|PIP|UV|BASH|SSH|PERL|PERL5|RUBY|GEM|BUNDLE|JAVA|_JAVA|JDK
        |MAVEN|GRADLE|CARGO|RUST|GO|XDG|LESS|OPENSSL|SSL|CURL|WGET|TAR|GREP|MAKE|CC|CXX|CFLAGS|LDFLAGS|TERMINFO|GCONV
        |GLIBC|MALLOC|DOCKER|KUBE|AWS|GPG|ELECTRON|VITE|JEST|PYTEST|TOX|NOX|POETRY|VIRTUAL_ENV|CONDA|RES|HOST|LOCAL)\w*
      |(?:\w*_)?(PATH|PAGER|EDITOR|VISUAL|BROWSER|SHELL|PROXY|PRELOAD|OPTIONS|OPTS|HOME|CONFIG|RC|COMMAND|ASKPASS)
      |ENV|IFS|PS[0-4]|SHELLOPTS|TMPDIR|TMP|TEMP|USER|LOGNAME|FUNCNEST|EXECIGNORE|GLOBIGNORE|INPUTRC|NLSPATH|CDPATH
      |OPTIND|OPTARG|RANDOM|SRANDOM|HISTCMD|SECONDS|LINENO|POSIXLY_CORRECT|DISPLAY|DBUS\w*|FPATH|MANPATH|INFOPATH|TZDIR""",
    re.VERBOSE | re.IGNORECASE,
)
"""Families by which some program finds code, configuration or another program. Wide on purpose."""

_QUIET = frozenset([("GIT_EDITOR", "true"), ("GIT_EDITOR", ":"), ("GIT_PAGER", "cat"), ("PAGER", "cat")])
"""Values that keep git from asking."""

_PLAIN = re.compile(r"[A-Za-z0-9_.,:=@%+-]{0,200}")


def check_name(name: str) -> None:
    """Raises Refused for a variable that steers what programs run."""
    if name not in _SAFE and _STEERING.fullmatch(name):
        raise Refused(f"the variable {name} changes what programs run; leave it as it is")


def check_assignment(assignment: Assignment, *, alone: bool) -> None:
    """Raises Refused unless name and value are harmless.

    `alone`: no call follows, the shell keeps the value for later; then it may be dynamic.
    """
    name, value = assignment.name, assignment.value
    if value.is_static and (name, value.text) in _QUIET:
        return
    check_name(name)
    if value.dynamic and alone:
        return
    if not value.is_static or (not alone and not _PLAIN.fullmatch(value.text)):
        raise Refused(f"{name}={value}: only plain values may be set for a command: letters, digits, .,:=@%+-_")
