"""Where a command may write."""

from __future__ import annotations

import posixpath

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Redirect, Refused, Word

HARMLESS = frozenset(["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2"])
WRITING = frozenset([">", ">>", ">|", "<>"])


def check_inside(word: Word, rules: CommandRules, command: str) -> None:
    """Raises Refused unless the word names a path in the workspace or /tmp, and nothing of `.git`.

    A glob is fine where it cannot reach a hidden name or leave the folder.
    """
    if word.dynamic:
        raise Refused(f"{command}: the path '{word}' is not known before it runs; write it out")
    parts = word.text.split("/")
    if word.pattern and (word.text.startswith(("~", "/")) or any(_may_reach_outside(part) for part in parts)):
        raise Refused(f"{command}: the pattern '{word}' may reach outside the workspace; name the paths")
    path = posixpath.normpath(posixpath.join(rules.workspace, word.text))
    root = posixpath.normpath(rules.workspace)
    within = path == root or path.startswith((f"{root.rstrip('/')}/", "/tmp/"))
    if not word.text or path.startswith("//") or not within:
        raise Refused(f"{command}: '{word}' is outside the workspace; only paths inside it and /tmp may be written")
    if any(part.lower() == ".git" for part in (*parts, *path.split("/"))):
        raise Refused(f"{command}: '{word}' is git's own; use git commands instead")


def _may_reach_outside(part: str) -> bool:
    """Whether this part of a pattern may become another folder's, or a hidden name that is not written out."""
    return part == ".." or bool(set(part) & set("{}")) or (part.startswith(".") and bool(set(part) & set("*?[")))


def check_redirect(redirect: Redirect, rules: CommandRules) -> None:
    """Raises Refused for a redirection that opens a socket, writes outside or is not known before it runs."""
    operator, target = redirect.operator, redirect.target
    if operator in ("<<", "<<-", "<<<"):
        return
    if operator in (">&", "<&"):
        if target.is_static and (target.text.isdigit() or target.text == "-"):
            return
        raise Refused(f"'{operator}{target}': only a number may follow {operator}; write '> FILE 2>&1'")
    if operator == "<":
        if not target.is_static or target.text.startswith(("/dev/tcp", "/dev/udp")):
            raise Refused(f"'< {target}' may open a network connection or is not known before it runs; name a file")
        return
    # dash reads `ls &> f x` as `ls &` and `> f x`, and runs x.
    if operator not in WRITING:
        raise Refused(f"the redirection '{operator}' is not allowed; use < > >> and 2>&1")
    if target.is_static and target.text in HARMLESS:
        return
    if target.pattern:
        raise Refused(f"'{operator} {target}': write the file's name out")
    check_inside(target, rules, operator)
