"""What is known of git's subcommands and options (git 2.39 to 2.51)."""

from __future__ import annotations

import re
from collections.abc import Callable

_NONE: frozenset[str] = frozenset()

_NAMES = """
add am apply archive bisect blame branch cat-file check-ignore checkout cherry-pick clean clone commit config
count-objects describe diff diff-files diff-index diff-tree fetch for-each-ref grep init log ls-files ls-remote ls-tree
merge merge-base mv name-rev notes pull push range-diff rebase reflog remote reset restore rev-list rev-parse revert rm
shortlog show show-ref sparse-checkout stash status submodule switch symbolic-ref tag version whatchanged worktree
"""
SUBCOMMANDS = frozenset(_NAMES.split())

HARMLESS = frozenset(["--local", "--filter", "--text", "--exclude", "--no-edit"])
"""Options of their own that begin like one of ANYWHERE."""
HARMLESS_FOR = {
    **dict.fromkeys(("log", "show", "diff", "stash"), frozenset(["--patch"])),
    "rev-parse": frozenset(["--verify", "--git-dir"]),
    "show-ref": frozenset(["--verify"]),
    "ls-files": frozenset(["--directory"]),
}
"""The same for some subcommands, which only print then."""

ANYWHERE = (
    *("--upload-pack", "--receive-pack", "--exec", "--exec-path", "--ext-diff", "--textconv", "--filters"),
    *("--open-files-in-pager", "--config", "--config-env", "--git-dir", "--work-tree", "--template", "--bare"),
    *("--separate-git-dir", "--gpg-sign", "--show-signature", "--interactive", "--editor", "--edit", "--edit-todo"),
    *("--edit-description", "--reedit-message", "--paginate", "--sign", "--signed", "--local-user"),
    *("--verify-signatures", "--remote-helper", "--recurse-submodules", "--server-option", "--reference"),
    *("--sequence-editor", "--trailer-command", "--patch-editor", "--directory", "--unsafe-paths", "--run", "--help"),
)
"""Long options with which git runs a program, opens an editor, or leaves the repository."""

LETTERS = {
    "add": frozenset("e"),
    "archive": frozenset("o"),
    "bisect": _NONE,
    "cherry-pick": frozenset("eSs"),
    "clone": frozenset("uc"),
    "commit": frozenset("ceSt"),
    "config": frozenset("ef"),
    "grep": frozenset("O"),
    "merge": frozenset("eSs"),
    "notes": frozenset("c"),
    "pull": frozenset("Ss"),
    "rebase": frozenset("xiSs"),
    "revert": frozenset("eSs"),
    "tag": frozenset("suvV"),
}
"""Short options of that kind; `-s` is a merge strategy, which is a program, for the ones that merge."""

VALUED = {
    **dict.fromkeys(("commit", "tag", "merge", "notes", "stash"), "mF"),
    **dict.fromkeys(("log", "show", "diff"), "SGL"),
}
"""Letters that take the rest of the word as their value."""

STRATEGIES = frozenset(["ours", "recursive", "ort", "resolve", "octopus", "subtree"])

ONLY_FIRST = {
    "bisect": frozenset(["start", "good", "bad", "old", "new", "skip", "reset", "log"]),
    "notes": frozenset(["", "list", "show", "add", "append"]),
    "reflog": frozenset(["", "show", "exists"]),
    "remote": frozenset(["", "show", "get-url"]),
    "submodule": frozenset(["", "status", "summary"]),
    "worktree": frozenset(["list"]),
    "symbolic-ref": frozenset(["HEAD"]),
    "sparse-checkout": frozenset(["list"]),
}
"""What may follow these subcommands; the rest runs commands or changes what belongs to the supervisor."""
BEFORE_FIRST = {
    "remote": frozenset(["-v", "--verbose"]),
    "symbolic-ref": frozenset(["--short", "-q"]),
}
"""Options that may stand before it."""

REMOTE = frozenset(["clone", "fetch", "pull", "push", "ls-remote", "remote", "submodule", "archive"])
MESSAGES = frozenset(["commit", "tag", "merge", "stash", "notes"])

SAFE_CONFIG = re.compile(
    r"(user\.(name|email)|color\.[a-z]+|advice\.\w+|core\.(quotepath|autocrlf|abbrev)|diff\.(renames|context)"
    r"|init\.defaultbranch|pull\.(rebase|ff)|log\.date)",
    re.IGNORECASE,
)


def _commit(words: list[str]) -> bool:
    said = ("--message", "--file", "--no-edit", "--reuse-message", "--dry-run", "--porcelain", "--short")
    long = any(word.split("=")[0] in said for word in words)
    for word, after in zip(words, [*words[1:], ""], strict=False):
        option, has_value, value = word.partition("=")
        fixed = value if has_value else after
        # To amend or reword another commit is to be asked for its new message.
        long = long or (option == "--fixup" and fixed != "" and not fixed.startswith(("amend:", "reword:")))
    # -u takes the rest of the word.
    return long or any(re.match(r"-[a-tv-zA-Z]*[mFC]", word) for word in words)


def _tag(words: list[str]) -> bool:
    annotated = any(re.match(r"-[a-ln-zA-Z]*a", word) or word == "--annotate" for word in words)
    return not annotated or any(re.match(r"-[a-zA-Z]*[mF]", word) or word.startswith("--message") for word in words)


def _notes(words: list[str]) -> bool:
    return not words or words[0] not in ("add", "append") or any(word.startswith(("-m", "-F")) for word in words)


EDITORS: dict[str, Callable[[list[str]], bool]] = {"commit": _commit, "tag": _tag, "notes": _notes}
"""Subcommands that open an editor unless told a message."""
