"""What each program may be told. One file a family; a program that is not here may be told anything static."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from agentd.policy.allowlist import CommandRules
from agentd.policy.programs import builtins, files, git, interpreters, launchers, npm, shells, tools
from agentd.policy.script import Call

Scripts = list[tuple[str, Literal["bash", "posix"]]]
"""Texts that the program will run as shell scripts, each with its shell's dialect: to be judged too."""

Check = Callable[[Call, CommandRules], Scripts | None]

_FREE = ("ls", "cat", "head", "tail", "grep", "pwd", "which", "wc", "echo", "true", "false", ":", "exit")
"""They only read or print, whatever they are told."""

_STARTED = (*_FREE, "printf", "test", "[")
"""Launchers may start them: as programs, printf and test evaluate nothing."""


def _check_launcher(call: Call, rules: CommandRules) -> None:
    launchers.check(call, rules, TABLE.keys() - set(_STARTED))


TABLE: dict[str, Check] = {
    **dict.fromkeys(("bash", "sh", "dash"), shells.check),
    "git": git.check,
    "npm": npm.check_npm,
    "npx": npm.check_npx,
    "pnpm": npm.check_pnpm,
    "pnpx": npm.check_npx,
    **dict.fromkeys(("node", "python3", "python"), interpreters.check),
    **dict.fromkeys(("rm", "mv", "mkdir", "touch", "rmdir", "tee", "truncate", "ln", "chmod"), files.check_writer),
    "cp": files.check_copy,
    "cd": files.check_cd,
    **dict.fromkeys(("find", "tar", "sed", "awk", "gawk", "mawk", "sort", "rg"), tools.check),
    **dict.fromkeys(launchers.NAMES, _check_launcher),
    **dict.fromkeys(("test", "["), builtins.check_test),
    "printf": builtins.check_printf,
    "command": builtins.check_command,
    **dict.fromkeys(builtins.NEVER, builtins.check_never),
    **dict.fromkeys(_FREE, lambda call, rules: None),
}


def check_program(call: Call, rules: CommandRules) -> Scripts:
    """Raises Refused for arguments that would make an allowed program run another one or write elsewhere."""
    return TABLE.get(call.name, tools.check_unknown)(call, rules) or []
