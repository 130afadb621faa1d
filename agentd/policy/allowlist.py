"""Which programs a command may name."""

from __future__ import annotations

from dataclasses import dataclass

from agentd.errors import ConfigurationError

DEFAULT = (
    *("cd", "git", "pnpm", "npm", "node", "npx", "python3", "bash", "sh"),
    *("ls", "cat", "head", "tail", "grep", "pwd", "which", "cp", "mv", "rm", "mkdir", "touch"),
)
"""The list when nobody says: that of agentd's first version, which agents were told for a year."""

RECOMMENDED = (
    *("ls", "dir", "cat", "head", "tail", "grep", "wc", "strings", "cut", "tr", "diff", "md5sum", "sha256sum"),
    *("pwd", "which", "uname", "hostname", "whoami", "id", "groups", "uptime", "nproc", "lscpu", "lsmem", "ps"),
)
"""What Deep Agents means by `recommended`: programs that only read (deepagents-code 0.1, configuration reference)."""

INERT = ("echo", "printf", "test", "[", "true", "false", ":", "exit", "command")
"""Builtins that start nothing; `command` only as `command -v NAME`. Allowed unless `inert` is off."""


@dataclass(frozen=True)
class CommandRules:
    """What commands are judged by."""

    allowed: frozenset[str] = frozenset(DEFAULT)
    """names of programs, without folders"""
    inert: bool = True
    """whether INERT is allowed beside the list"""
    workspace: str = "/workspace"
    """the absolute folder that writing commands must stay in; relative paths are relative to it"""

    @property
    def names(self) -> frozenset[str]:
        return self.allowed | frozenset(INERT) if self.inert else self.allowed

    def offer(self) -> str:
        """The names for a message, in order."""
        return ", ".join(sorted(self.allowed))


def parse_allow_list(text: str) -> frozenset[str]:
    """The names in DEEPAGENTS_SHELL_ALLOW_LIST's form: separated by commas. Empty text is DEFAULT.

    Raises ConfigurationError for `all`, which would switch every check off, and for what is no plain name.
    """
    names: set[str] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name.lower() == "all":
            raise ConfigurationError(
                "the shell allow list says 'all', which would check nothing; name the commands instead, "
                f"for example {','.join(DEFAULT)}"
            )
        if name.lower() == "recommended":
            names |= set(RECOMMENDED)
        elif any(character in name for character in "/\\$`'\"*?{}()<>|&; \t\n") or not name.isascii():
            raise ConfigurationError(
                f"the shell allow list has {name!r}, which is no plain program name; write the name without folder, "
                "options or quotes"
            )
        else:
            names.add(name)
    return frozenset(names or DEFAULT)
